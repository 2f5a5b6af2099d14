// SPDX-License-Identifier: MIT
// Finds the peers: OpenBLAS, BLIS and oneDNN as shared libraries of the system, Eigen and libxsmm in modules
// that are built with the benchmarks.
#include "peers.hpp"

#include <ferrite/kernels.hpp>

#if defined(FERRITE_BENCH_PEERS)
#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#endif

namespace ferrite::bench {

#if defined(FERRITE_BENCH_PEERS)

namespace {

/// A library with its names kept to itself; never closed, as it may have threads or handlers.
class Library {
  public:
    explicit Library(const std::string& file) : handle_(::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) {}
    [[nodiscard]] bool open() const { return handle_ != nullptr; }
    template <class Function>
    [[nodiscard]] Function* get(const char* name) const {
        return reinterpret_cast<Function*>(::dlsym(handle_, name));
    }
    /// The file in which a function really is.
    template <class Function>
    [[nodiscard]] static std::string file_of(Function* function) {
        Dl_info info{};
        if (::dladdr(reinterpret_cast<void*>(function), &info) == 0 || info.dli_fname == nullptr) return "?";
        std::error_code ignored;
        const auto file = std::filesystem::canonical(info.dli_fname, ignored);
        return ignored ? info.dli_fname : file.filename().string();
    }

  private:
    void* handle_;
};

Peer absent(const char* name, const char* why) { return {name, why, false, {}}; }

using Sgemm = void(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                   const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc);

/// The C interface of BLAS, with its numbers.
std::function<void()> bind_cblas(Sgemm* sgemm, const PeerProduct& p) {
    constexpr int row_major = 101, as_it_is = 111, transposed = 112;
    return [=] {
        const int m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
        sgemm(row_major, p.transpose_a ? transposed : as_it_is, p.transpose_b ? transposed : as_it_is, m, n,
              k, 1, p.a, p.transpose_a ? m : k, p.b, p.transpose_b ? k : n, 0, p.c, n);
    };
}

Peer openblas() {
    const Library library("libopenblas.so.0");
    if (!library.open()) return absent("OpenBLAS", "not installed");
    auto* const sgemm = library.get<Sgemm>("cblas_sgemm");
    auto* const config = library.get<const char*()>("openblas_get_config");
    auto* const core = library.get<const char*()>("openblas_get_corename");
    auto* const threads = library.get<void(int)>("openblas_set_num_threads");
    if (sgemm == nullptr || config == nullptr || core == nullptr || threads == nullptr)
        return absent("OpenBLAS", "not usable: functions are missing");
    threads(1);
    return {"OpenBLAS", std::string(config()) + ", kernels " + core() + ", " + Library::file_of(sgemm), true,
            [sgemm](const PeerProduct& p) { return bind_cblas(sgemm, p); }};
}

Peer blis() {
    const Library library("libblis.so.4");
    if (!library.open()) return absent("BLIS", "not installed");
    auto* const sgemm = library.get<Sgemm>("cblas_sgemm");
    auto* const version = library.get<const char*()>("bli_info_get_version_str");
    auto* const kernels = library.get<int()>("bli_arch_query_id");
    auto* const kernels_name = library.get<const char*(int)>("bli_arch_string");
    auto* const threads = library.get<void(std::intptr_t)>("bli_thread_set_num_threads");
    if (sgemm == nullptr || version == nullptr || kernels == nullptr || kernels_name == nullptr ||
        threads == nullptr)
        return absent("BLIS", "not usable: functions are missing");
    threads(1);
    return {"BLIS",
            std::string(version()) + ", kernels " + kernels_name(kernels()) + ", " + Library::file_of(sgemm),
            true, [sgemm](const PeerProduct& p) { return bind_cblas(sgemm, p); }};
}

Peer onednn() {
    const Library library("libdnnl.so.2");
    if (!library.open()) return absent("oneDNN", "not installed");
    struct Version {
        int major, minor, patch;
    };
    using DnnlSgemm = int(char transpose_a, char transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                          float alpha, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
                          float beta, float* c, std::int64_t ldc);
    auto* const sgemm = library.get<DnnlSgemm>("dnnl_sgemm");
    auto* const version = library.get<const Version*()>("dnnl_version");
    auto* const isa = library.get<int()>("dnnl_get_effective_cpu_isa");
    if (sgemm == nullptr || version == nullptr || isa == nullptr)
        return absent("oneDNN", "not usable: functions are missing");
    const Version v = *version();
    constexpr int avx2 = 0x7, any_avx512 = 0x20;
    const int bits = isa();
    const std::string kernels = (bits & any_avx512) != 0 ? "AVX-512"
                                : (bits & avx2) == avx2  ? "AVX2"
                                                         : "older than AVX2";
    return {"oneDNN",
            std::to_string(v.major) + '.' + std::to_string(v.minor) + '.' + std::to_string(v.patch) +
                ", kernels " + kernels + ", " + Library::file_of(sgemm),
            true, [sgemm](const PeerProduct& p) -> std::function<void()> {
                return [=] {
                    const auto m = std::int64_t(p.m), n = std::int64_t(p.n), k = std::int64_t(p.k);
                    sgemm(p.transpose_a ? 'T' : 'N', p.transpose_b ? 'T' : 'N', m, n, k, 1, p.a,
                          p.transpose_a ? m : k, p.b, p.transpose_b ? k : n, 0, p.c, n);
                };
            }};
}

Peer module(const char* name, const std::string& file, const char* isa) {
    const Library library(std::string(FERRITE_BENCH_PEERS "/") + file + ".so");
    if (!library.open()) return absent(name, "not installed when the benchmarks were built");
    auto* const entry = library.get<PeerEntry>("ferrite_peer");
    if (entry == nullptr) return absent(name, "not usable: functions are missing");
    const PeerModule m = entry(isa);
    return {name, m.version, true, [m](const PeerProduct& p) -> std::function<void()> {
                const void* const plan = m.plan(p);
                if (plan == nullptr) return {};
                return [=] { m.run(plan, p); };
            }};
}

std::vector<Peer> load() {
    const std::string isa = name(active_isa());
    if (isa == "scalar") {
        constexpr const char* why = "not compared with the scalar kernels";
        return {absent("OpenBLAS", why), absent("BLIS", why), absent("Eigen", why), absent("libxsmm", why),
                absent("oneDNN", why)};
    }
    ::setenv("OMP_NUM_THREADS", "1", 1);
    ::unsetenv("OPENBLAS_CORETYPE");
    if (isa == "avx2" && __builtin_cpu_supports("avx512f")) {
        // On such a processor they would take AVX-512. 3 is the number of the Haswell kernels in BLIS 0.9.
        ::setenv("OPENBLAS_CORETYPE", "Haswell", 1);
        ::setenv("BLIS_ARCH_TYPE", "3", 1);
        ::setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
    }
    return {openblas(), blis(), module("Eigen", "ferrite_peer_eigen_" + isa, isa.c_str()),
            module("libxsmm", "ferrite_peer_libxsmm", isa.c_str()), onednn()};
}

}  // namespace

#else

namespace {
std::vector<Peer> load() { return {}; }
}  // namespace

#endif

const std::vector<Peer>& peers() {
    static const std::vector<Peer> all = load();
    return all;
}

}  // namespace ferrite::bench
