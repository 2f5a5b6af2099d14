// SPDX-License-Identifier: MIT
// libxsmm as a peer: a static library that generates its code at run time.
#include <libxsmm.h>

#include <cstdlib>

#include "peers.hpp"

namespace {

using ferrite::bench::PeerProduct;

/// A row-major C = A B is a column-major C^T = B^T A^T. There is no kernel for a transposed left operand.
const void* plan(const PeerProduct& p) {
    if (p.transpose_b) return nullptr;
    const auto m = libxsmm_blasint(p.n), n = libxsmm_blasint(p.m), k = libxsmm_blasint(p.k);
    const libxsmm_blasint lda = m, ldb = p.transpose_a ? n : k, ldc = m;
    const float alpha = 1, beta = 0;
    const int flags = p.transpose_a ? LIBXSMM_GEMM_FLAG_TRANS_B : LIBXSMM_GEMM_FLAG_NONE;
    const int prefetch = LIBXSMM_PREFETCH_NONE;
    return reinterpret_cast<const void*>(
        libxsmm_smmdispatch(m, n, k, &lda, &ldb, &ldc, &alpha, &beta, &flags, &prefetch));
}

void run(const void* kernel, const PeerProduct& p) {
    reinterpret_cast<libxsmm_smmfunction>(const_cast<void*>(kernel))(p.b, p.a, p.c);
}

}  // namespace

extern "C" ferrite::bench::PeerModule ferrite_peer(const char* isa) {
    if (std::string(isa) == "avx2") ::setenv("LIBXSMM_TARGET", "hsw", 1);
    libxsmm_init();
    static const std::string text = std::string(LIBXSMM_VERSION) + ", kernels " + libxsmm_get_target_arch();
    return {&plan, &run, text.c_str()};
}
