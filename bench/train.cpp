// SPDX-License-Identifier: MIT
// Whole programs: training steps, inference, and making a session. Counted as floating-point work: the matrix
// products, without the gradient of the network's input, which nobody needs.
#include <cmath>
#include <cstring>
#include <ferrite/ferrite.hpp>
#include <optional>

#include "bench.hpp"
#include "by_hand.hpp"
#include "cases.hpp"
#include "peers.hpp"

namespace ferrite::bench {

namespace {

/// Whether one step gives the bits that the scalar kernels give; true where this build has only one set of
/// kernels.
bool equals_scalar(const TrainingCase& c) {
    TrainingRun fast(c), scalar(c);
    if (!fast.ready() || !scalar.ready()) return false;
    fast.step();
    with_scalar_kernels([&scalar] { scalar.step(); });
    return fast.same_parameters(scalar);
}

/// The same network, data and start values, trained by plain loops around the products of the peers, each
/// product by the peer that is fastest at it.
class ByHand {
  public:
    ByHand(const TrainingCase& c, const TrainingRun& like)
        : batch_(c.batch),
          units_(c.net.units.begin(), c.net.units.end()),
          like_(like),
          layers_(units_.size() - 1) {
        activations_.emplace_back();  // the inputs stay where they are
        for (std::size_t i = 1; i < units_.size(); ++i) activations_.emplace_back(batch_ * units_[i]);
        gradients_ = activations_;
        for (std::size_t l = 0; l < layers_.size(); ++l)
            for (const std::size_t i : {0u, 1u}) {
                const std::span<const float> start = like.session().parameter(2 * l + i);
                Parameters& p = layers_[l].parameters[i];
                p.value.assign(start.begin(), start.end());
                p.gradient = p.m = p.v = Floats(start.size());
            }
        optimizer_ = c.optimizer;
        ready_ = choose();
    }
    ByHand(const ByHand&) = delete;
    ByHand& operator=(const ByHand&) = delete;
    [[nodiscard]] bool ready() const { return ready_; }

    float step() {
        const std::size_t first = next_;
        next_ = next_ + 2 * batch_ > like_.samples() ? 0 : next_ + batch_;
        input_ = like_.pixels().data() + first * units_[0];
        for (std::size_t l = 0; l < layers_.size(); ++l) {
            layers_[l].forward(input(l));
            by_hand::finish({activations_[l + 1].data(), layers_[l].parameters[1].value.data(), batch_,
                             units_[l + 1], l + 1 < layers_.size()});
        }
        float loss = 0;
        by_hand::loss({activations_.back().data(), like_.labels().data() + first, gradients_.back().data(),
                       &loss, batch_, units_.back()});
        ++iteration_;
        UpdateConstants constants;
        optimizer_.prepare(optimizer_, optimizer_.learning_rate, iteration_, constants);
        for (std::size_t l = layers_.size(); l-- > 0;) {
            layers_[l].weights(input(l));
            by_hand::column_sums(
                {gradients_[l + 1].data(), layers_[l].parameters[1].gradient.data(), batch_, units_[l + 1]});
            if (l > 0) {
                layers_[l].inputs(nullptr);
                by_hand::rectify({gradients_[l].data(), activations_[l].data(), gradients_[l].size()});
            }
            for (Parameters& p : layers_[l].parameters)
                by_hand::update({p.value.data(), p.gradient.data(),
                                 optimizer_.state_slots > 0 ? p.m.data() : nullptr, p.v.data(),
                                 p.value.size(), constants.rate, constants.a, constants.b, constants.d});
        }
        return loss;
    }
    /// Adam divides by the size of a gradient, so that a rounding error moves a parameter by up to its rate.
    [[nodiscard]] bool close_to(const TrainingSession& other) const {
        const float tolerance = optimizer_.state_slots > 0 ? 2.1f * optimizer_.learning_rate : 1e-5f;
        double apart = 0, count = 0;
        for (std::size_t l = 0; l < layers_.size(); ++l)
            for (const std::size_t i : {0u, 1u}) {
                const std::span<const float> found = other.parameter(2 * l + i);
                const Floats& own = layers_[l].parameters[i].value;
                for (std::size_t k = 0; k < own.size(); ++k) {
                    const float distance = std::abs(found[k] - own[k]);
                    if (!(distance <= tolerance)) return false;
                    apart += static_cast<double>(distance);
                    ++count;
                }
            }
        return apart <= 0.01 * static_cast<double>(tolerance) * count;
    }

  private:
    struct Parameters {
        Floats value, gradient, m, v;
    };
    /// `x`: what the input of the layer is in this step.
    using Call = std::function<void(const float* x)>;
    struct Layer {
        Parameters parameters[2];  ///< W, b
        Call forward, weights, inputs;
    };

    [[nodiscard]] const float* input(std::size_t l) const { return l == 0 ? input_ : activations_[l].data(); }

    /// The peer that takes least time for this product, as a call that takes its first operand; empty if none
    /// has it.
    [[nodiscard]] static Call fastest(const PeerProduct& product) {
        double best = 0;
        Call call;
        for (const Peer& peer : peers()) {
            if (!peer.here) continue;
            const auto run = peer.bind(product);
            if (!run) continue;
            double time = 0;
            for (int i = 0; i < 5; ++i) {
                const double once = seconds_per_call(3, run);
                time = i == 0 ? once : std::min(time, once);
            }
            if (call && time >= best) continue;
            best = time;
            call = [bind = peer.bind, p = PeerProduct(product),
                    run = std::function<void()>(run)](const float* a) mutable {
                if (a != nullptr && a != p.a) {
                    p.a = a;
                    run = bind(p);
                }
                run();
            };
        }
        return call;
    }
    bool choose() {
        input_ = like_.pixels().data();
        for (std::size_t l = 0; l < layers_.size(); ++l) {
            const std::size_t in = units_[l], out = units_[l + 1];
            Layer& layer = layers_[l];
            const float *const x = input(l), *const w = layer.parameters[0].value.data();
            layer.forward = fastest({false, false, batch_, out, in, x, w, activations_[l + 1].data()});
            layer.weights = fastest({true, false, in, out, batch_, x, gradients_[l + 1].data(),
                                     layer.parameters[0].gradient.data()});
            if (l > 0)
                layer.inputs = fastest(
                    {false, true, batch_, in, out, gradients_[l + 1].data(), w, gradients_[l].data()});
            if (!layer.forward || !layer.weights || (l > 0 && !layer.inputs)) return false;
        }
        return true;
    }

    std::size_t batch_;
    std::vector<std::size_t> units_;
    const TrainingRun& like_;
    std::vector<Layer> layers_;
    std::vector<Floats> activations_, gradients_;
    Optimizer optimizer_;
    const float* input_ = nullptr;
    std::size_t next_ = 0;
    std::uint32_t iteration_ = 0;
    bool ready_ = false;
};

void train(benchmark::State& state, const TrainingCase& c) {
    if (!equals_scalar(c)) return fail(state, "one step differs from that of the scalar kernels");
    TrainingRun run(c);
    std::optional<ByHand> hand;
    if (!c.net.batch_norm) hand.emplace(c, run);
    std::vector<Lane> others;
    if (hand && hand->ready()) {
        const float own_loss = run.step(), loss = hand->step();
        if (!hand->close_to(run.session()) || !(std::abs(own_loss - loss) < 1e-4f))
            return fail(state, "one step by hand gives other parameters");
        others.push_back(lane("by hand", [&hand] { benchmark::DoNotOptimize(hand->step()); }));
    }
    if (!run.learns()) return fail(state, "the loss does not fall");
    const double batch = c.batch;
    const Result r = compare_with_peak(
        state, batch * c.net.flops_per_sample(), c.target, [&run] { benchmark::DoNotOptimize(run.step()); },
        others);
    if (!others.empty()) state.counters["by hand_samples/s"] = batch / r.others[0].seconds;
    state.counters["samples/s"] = batch / r.own.seconds;
    state.counters["arena"] = static_cast<double>(run.arena_bytes());
    if (c.batch > 1) return;
    // With one sample the weights are the work: how often they could be read in the time of a step.
    state.counters["weights/s"] = static_cast<double>(c.net.weights()) / r.own.seconds;
}

void predict(benchmark::State& state, const InferenceCase& c) {
    Prediction fast(c), scalar(c);
    if (!fast.ready() || !scalar.ready()) return fail(state, "the program does not compile");
    const std::span<const float> found = fast();
    std::span<const float> expected;
    with_scalar_kernels([&] { expected = scalar(); });
    if (found.size() != expected.size() ||
        std::memcmp(found.data(), expected.data(), found.size_bytes()) != 0)
        return fail(state, "the outputs differ from those of the scalar kernels");
    const Floats weights(limit_elements(c.net.weights()));
    float sum = 0;
    const Result r = compare_with_bandwidth(
        state, c.net.weights(), 4, c.target, [&] { benchmark::DoNotOptimize(fast().data()); },
        "reading all weights",
        [&] {
            read({weights.data(), weights.size(), &sum});
            benchmark::DoNotOptimize(sum);
        });
    state.counters["samples/s"] = c.batch / r.own.seconds;
    state.counters["us/sample"] = 1e6 * r.own.seconds / c.batch;
}

/// A model that arrives at run time until it can take its first step: compile() (emit, fuse, place, check)
/// and bind(), and then, which is more, the start values.
void make_session(benchmark::State& state, const Net& net, bool initialize) {
    const std::vector<AnyLayer> layers = layers_of(net);
    const DynamicModel model{Shape{net.units.front()}, layers};
    Training recipe;
    recipe.optimizer = Adam{};
    recipe.batch = 100;
    Tables tables = tables_for(layers.size());
    const auto memory = std::as_writable_bytes(std::span(tables));
    const auto program = compile(model, recipe, memory);
    if (!program.ok()) return fail(state, "the program does not compile");
    Arena arena(program.value().totals->arena_bytes);
    if (TrainingSession::bind(program.value(), recipe, std::span(arena).first(arena.size() - 1)).ok())
        return fail(state, "an arena of one byte too few is taken");
    const auto run = [&] {
        const auto compiled = compile(model, recipe, memory);
        auto session = TrainingSession::bind(compiled.value(), recipe, arena).value();
        if (initialize) session.initialize(Seed{1});
        benchmark::DoNotOptimize(session);
    };
    const Result r = count_cycles(state, lane("own", run));
    state.counters["us"] = 1e6 * r.own.seconds;
    state.counters["arena"] = static_cast<double>(arena.size());
}

}  // namespace

void add_train() {
    for (const TrainingCase& c : training_cases()) add(c.name(), [c](benchmark::State& s) { train(s, c); });
    for (const InferenceCase& c : inference_cases())
        add(c.name(), [c](benchmark::State& s) { predict(s, c); });
    for (const Net& net : {net_100x4(), net_100x6_batch_norm(), net_512x2()}) {
        add(text("session/compile+bind/", net.name),
            [net](benchmark::State& s) { make_session(s, net, false); });
        add(text("session/compile+bind+initialize/", net.name),
            [net](benchmark::State& s) { make_session(s, net, true); });
    }
}

}  // namespace ferrite::bench
