// SPDX-License-Identifier: MIT
// Eigen as a peer; peer_eigen_<isa>.cpp is a module of its own with the flags of that instruction set, so
// that the templates of one cannot stand in for those of another.
#pragma once

#define EIGEN_DONT_PARALLELIZE
#define EIGEN_NO_DEBUG
#include <Eigen/Core>

#include "peers.hpp"

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Row = Eigen::Matrix<float, 1, Eigen::Dynamic>;
using Input = Eigen::Map<const Matrix>;

template <class A, class B>
void multiply(const A& a, const B& b, const ferrite::bench::PeerProduct& p) {
    Eigen::Map<Matrix>(p.c, Eigen::Index(p.m), Eigen::Index(p.n)).noalias() = a * b;
}

void run(const void*, const ferrite::bench::PeerProduct& p) {
    const auto m = Eigen::Index(p.m), n = Eigen::Index(p.n), k = Eigen::Index(p.k);
    if (p.transpose_a) {
        multiply(Input(p.a, k, m).transpose(), Input(p.b, k, n), p);
    } else if (p.transpose_b) {
        multiply(Input(p.a, m, k), Input(p.b, n, k).transpose(), p);
    } else if (m == 1) {
        Eigen::Map<Row>(p.c, n).noalias() = Eigen::Map<const Row>(p.a, k) * Input(p.b, k, n);
    } else {
        multiply(Input(p.a, m, k), Input(p.b, k, n), p);
    }
}

}  // namespace

#define FERRITE_TEXT_OF(x) #x
#define FERRITE_TEXT(x) FERRITE_TEXT_OF(x)

extern "C" ferrite::bench::PeerModule ferrite_peer(const char*) {
    static constexpr char version[] = FERRITE_TEXT(EIGEN_WORLD_VERSION) "." FERRITE_TEXT(
        EIGEN_MAJOR_VERSION) "." FERRITE_TEXT(EIGEN_MINOR_VERSION);
    static const std::string text = std::string(version) + ", " + Eigen::SimdInstructionSetsInUse();
    return {[](const ferrite::bench::PeerProduct&) -> const void* { return version; }, &run, text.c_str()};
}
