// SPDX-License-Identifier: MIT
// Other people's matrix products. Each library is loaded on its own, with its names hidden from the others:
// OpenBLAS and BLIS offer the same functions.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace ferrite::bench {

/// C (m, n) = op(A) op(B), row-major and dense: A (m, k), or (k, m) if transposed; B (k, n), or (n, k) if
/// transposed.
struct PeerProduct {
    bool transpose_a, transpose_b;
    std::size_t m, n, k;
    const float* a;
    const float* b;
    float* c;
};

/// What a module that holds a peer (peer_*.cpp) exports.
using PeerRun = void(const void* plan, const PeerProduct&);
struct PeerModule {
    /// What PeerRun needs for products of this shape, and null if there is no such product.
    const void* (*plan)(const PeerProduct&);
    PeerRun* run;
    const char* version;
};
using PeerEntry = PeerModule(const char* isa);

struct Peer {
    std::string name;
    /// Version, kernels and the file that it came from; or why it is not there.
    std::string what;
    bool here = false;
    /// A call of this product on one thread; empty if the peer has none.
    std::function<std::function<void()>(const PeerProduct&)> bind;
};

/// All peers, the absent ones too. The first call loads them, limited to the instruction set that is active
/// then.
const std::vector<Peer>& peers();

}  // namespace ferrite::bench
