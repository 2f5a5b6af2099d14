// SPDX-License-Identifier: MIT
// Gradients of whole networks out of real training sessions: golden values, and central differences of a
// plain forward pass in double, for every activation, loss and arrangement of layers.
#include <algorithm>
#include <functional>

#include "golden.hpp"

namespace fe = ferrite;
using fe::test::deviation;
using fe::test::Doubles;

namespace {

double wide(float x) { return static_cast<double>(x); }

struct Activation {
    const char* name;
    fe::AnyLayer layer;
    std::function<void(Doubles&)> apply;  ///< to one sample
    bool bends = false;                   ///< at 0
};

std::function<void(Doubles&)> each(double (*f)(double)) {
    return [f](Doubles& x) {
        for (double& v : x) v = f(v);
    };
}

const std::vector<Activation> activations = {
    {"none", fe::Flatten{}, [](Doubles&) {}},
    {"relu", fe::Relu{}, each([](double x) { return std::max(x, 0.0); }), true},
    {"leaky relu", fe::LeakyRelu{.slope = 0.125f}, each([](double x) { return x > 0 ? x : 0.125 * x; }),
     true},
    {"sigmoid", fe::Sigmoid{}, each([](double x) { return 1 / (1 + std::exp(-x)); })},
    {"tanh", fe::Tanh{}, each([](double x) { return std::tanh(x); })},
    {"gelu", fe::Gelu{}, each([](double x) {
         return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
     })},
    {"softmax", fe::Softmax{},
     [](Doubles& x) {
         const double top = *std::max_element(x.begin(), x.end());
         double sum = 0;
         for (double& v : x) sum += v = std::exp(v - top);
         for (double& v : x) v /= sum;
     }},
};

/// The loss of one sample's outputs; every loss is the mean of these over the batch.
struct SampleLoss {
    const char* name;
    fe::Loss loss;
    std::function<double(const Doubles& z, std::size_t label, const float* targets)> of;
};

std::function<double(const Doubles&, std::size_t, const float*)> mean(double (*f)(double, double)) {
    return [f](const Doubles& z, std::size_t, const float* t) {
        double sum = 0;
        for (std::size_t i = 0; i < z.size(); ++i) sum += f(z[i], wide(t[i]));
        return sum / static_cast<double>(z.size());
    };
}

const std::vector<SampleLoss> losses = {
    {"softmax cross entropy", fe::SoftmaxCrossEntropy{},
     [](const Doubles& z, std::size_t label, const float*) {
         double sum = 0;
         for (const double v : z) sum += std::exp(v);
         return std::log(sum) - z[label];
     }},
    {"binary cross entropy", fe::BinaryCrossEntropy{},
     mean([](double z, double t) { return std::max(z, 0.0) - z * t + std::log1p(std::exp(-std::abs(z))); })},
    {"mean squared error", fe::MeanSquaredError{},
     mean([](double z, double t) { return (z - t) * (z - t); })},
    {"huber", fe::Huber{.delta = 0.5f}, mean([](double z, double t) {
         const double e = std::abs(z - t);
         return e <= 0.5 ? e * e / 2 : 0.5 * (e - 0.25);
     })},
};

/// Dense layers of these sizes with an activation behind each but the last.
struct Net {
    std::vector<std::uint32_t> sizes;
    std::vector<const Activation*> behind;  ///< one per Dense layer; the last may be "none"
    std::vector<bool> bias, frozen;

    [[nodiscard]] std::vector<fe::AnyLayer> layers() const {
        std::vector<fe::AnyLayer> result;
        for (std::size_t l = 0; l + 1 < sizes.size(); ++l) {
            result.push_back(fe::Dense{.units = sizes[l + 1], .bias = bias[l], .frozen = frozen[l]});
            result.push_back(behind[l]->layer);
        }
        return result;
    }

    /// Mean loss over the batch. `parameters` as in a session: W, and b if there is one, per layer.
    /// `nearest`: the smallest |value| in front of an activation that bends at 0.
    double loss(const std::vector<Doubles>& parameters, const std::vector<float>& x, std::size_t rows,
                const SampleLoss& loss, const std::vector<fe::Label>& labels,
                const std::vector<float>& targets, double* nearest = nullptr) const {
        double sum = 0;
        for (std::size_t r = 0; r < rows; ++r) {
            Doubles in(x.begin() + static_cast<std::ptrdiff_t>(r * sizes[0]),
                       x.begin() + static_cast<std::ptrdiff_t>((r + 1) * sizes[0]));
            std::size_t p = 0;
            for (std::size_t l = 0; l + 1 < sizes.size(); ++l) {
                const Doubles& w = parameters[p++];
                Doubles out(sizes[l + 1], 0.0);
                if (bias[l]) out = parameters[p++];
                for (std::size_t i = 0; i < in.size(); ++i)
                    for (std::size_t o = 0; o < out.size(); ++o) out[o] += in[i] * w[i * out.size() + o];
                if (nearest != nullptr && behind[l]->bends)
                    for (const double v : out) *nearest = std::min(*nearest, std::abs(v));
                behind[l]->apply(out);
                in = std::move(out);
            }
            sum += loss.of(in, labels[r], targets.data() + r * in.size());
        }
        return sum / static_cast<double>(rows);
    }
};

std::vector<Doubles> parameters_of(fe::TrainingSession& session) {
    std::vector<Doubles> result;
    for (std::size_t i = 0; i < session.parameter_count(); ++i)
        result.emplace_back(session.parameter(i).begin(), session.parameter(i).end());
    return result;
}

float step(fe::TrainingSession& session, const fe::Loss& loss, const std::vector<float>& x,
           const std::vector<fe::Label>& labels, const std::vector<float>& targets) {
    return loss.labels ? session.step(x, std::span<const fe::Label>(labels))
                       : session.step(x, std::span<const float>(targets));
}

/// Gradients of a session against central differences. Counts the parameters that were compared.
std::size_t check(const Net& net, const SampleLoss& loss, std::uint32_t batch, std::size_t rows,
                  std::uint64_t seed) {
    fe::test::Learner learner(
        fe::Shape{net.sizes.front()}, net.layers(),
        {.loss = loss.loss, .optimizer = fe::Sgd{0.0f}, .batch = batch, .update = fe::Update::stored});
    fe::TrainingSession& session = learner.session();
    const std::size_t outputs = net.sizes.back();
    std::vector<float> x(rows * net.sizes.front()), targets(rows * outputs);
    std::vector<fe::Label> labels(rows);
    std::vector<Doubles> p;
    // Differences across a bend mean nothing: other values are taken until none is near one.
    for (double nearest = 0; nearest < 1e-4; ++seed) {
        const fe::test::PortableGenerator random{seed};
        std::uint64_t at = 0;
        for (float& v : x) v = static_cast<float>(random.normal(at++));
        for (float& v : targets) v = static_cast<float>(random.uniform(at++));
        for (fe::Label& t : labels) t = static_cast<fe::Label>(random.bits(at++) % outputs);
        session.initialize(fe::Seed{seed});
        for (std::size_t i = 0; i < session.parameter_count(); ++i)
            if (session.program().parameters[i].decays == false)
                for (float& v : session.parameter(i)) v = static_cast<float>(0.3 * random.normal(at++));
        p = parameters_of(session);
        nearest = 1;
        net.loss(p, x, rows, loss, labels, targets, &nearest);
    }
    const double expected = net.loss(p, x, rows, loss, labels, targets);
    CHECK(std::abs(wide(step(session, loss.loss, x, labels, targets)) - expected) <=
          1e-6 * std::max(1.0, expected));
    CHECK(deviation(p.front(), session.parameter(0)) == 0);  // learning rate 0
    std::size_t compared = 0;
    for (std::size_t a = 0; a < p.size(); ++a) {
        CAPTURE(a);
        const bool frozen = !session.program().parameters[a].trainable;
        REQUIRE(session.gradient(a).size() == (frozen ? 0 : p[a].size()));
        if (frozen) continue;
        Doubles differences(p[a].size());
        for (std::size_t i = 0; i < p[a].size(); ++i) {
            const double here = p[a][i], h = 1e-6;
            p[a][i] = here + h;
            const double above = net.loss(p, x, rows, loss, labels, targets);
            p[a][i] = here - h;
            const double below = net.loss(p, x, rows, loss, labels, targets);
            p[a][i] = here;
            differences[i] = (above - below) / (2 * h);
        }
        CHECK(deviation(differences, session.gradient(a)) <= 1e-6);
        compared += differences.size();
    }
    return compared;
}

}  // namespace

TEST_CASE("gradients: the golden nets") {
    const nlohmann::json file = fe::test::golden("gradient_check.json");
    int cases = 0;
    for (const nlohmann::json& c : file.at("cases")) {
        const bool normed = c.at("batchnorm");
        ++cases;
        CAPTURE(c.at("name").get<std::string>());
        const std::vector<std::uint32_t> sizes = c.at("sizes");
        const std::uint32_t batch = c.at("batch");
        const std::vector<fe::Label> labels = c.at("labels");
        const std::string name = c.at("activation");
        const double decay = c.at("weight_decay");
        const auto activation = std::find_if(activations.begin(), activations.end(),
                                             [&](const Activation& a) { return a.name == name; });
        REQUIRE(activation != activations.end());
        std::vector<fe::AnyLayer> layers;
        for (std::size_t l = 1; l < sizes.size(); ++l) {
            layers.push_back(fe::Dense{.units = sizes[l]});
            if (l + 1 == sizes.size()) continue;
            if (normed) layers.push_back(fe::BatchNorm{.epsilon = c.at("bn_eps").get<float>()});
            layers.push_back(activation->layer);
        }
        std::vector<float> x(batch * sizes[0]);
        for (std::size_t i = 0; i < x.size(); ++i)
            x[i] = static_cast<float>(std::cos(0.7 * static_cast<double>(i + 1) + 0.3));
        for (const fe::Update update : {fe::Update::stored, fe::Update::immediate}) {
            const bool stored = update == fe::Update::stored;
            // At learning rate 1 the step is the gradient, weight decay included.
            fe::test::Learner learner(fe::Shape{sizes[0]}, layers,
                                      {.optimizer = fe::Sgd{1.0f},
                                       .batch = batch,
                                       .weight_decay = static_cast<float>(decay),
                                       .update = update});
            fe::TrainingSession& session = learner.session();
            std::vector<std::string> keys;  // of the gradients in the file, as the arrays follow each other
            for (std::size_t l = 1; l < sizes.size(); ++l) {
                const std::string digit = std::to_string(l);
                keys.insert(keys.end(), {"W" + digit, "b" + digit});
                if (normed && l + 1 < sizes.size()) keys.insert(keys.end(), {"gamma" + digit, "beta" + digit, "", ""});
            }
            REQUIRE(session.parameter_count() == keys.size());
            for (std::size_t a = 0; a < keys.size(); ++a) {
                const double layer = keys[a].empty() ? 0 : keys[a].back() - '0';
                const auto fill = [&](auto f) {
                    for (std::size_t i = 0; i < session.parameter(a).size(); ++i)
                        session.parameter(a)[i] = static_cast<float>(f(static_cast<double>(i + 1)));
                };
                if (keys[a].starts_with("W")) fill([&](double k) { return 0.5 * std::sin(k + layer); });
                if (keys[a].starts_with("b")) fill([&](double k) { return 0.1 * std::cos(k + layer); });  // b and beta
                if (keys[a].starts_with("gamma")) fill([&](double k) { return 1 + 0.2 * std::sin(k + layer); });
            }
            const std::vector<Doubles> before = parameters_of(session);
            const std::vector<Doubles> softmax = c.at("softmax"), logits = c.at("logits");
            const std::span<const float> p = session.predict(x);
            // The file's probabilities are those of the batch; with BatchNorm predict() takes running values.
            for (std::size_t r = 0; r < batch && !normed; ++r)
                CHECK(deviation(softmax[r], p.subspan(r * sizes.back(), sizes.back())) <= 1e-6);
            CHECK(std::abs(wide(session.penalty()) - c.at("penalty").get<double>()) <= 1e-6);
            const float penalty = session.penalty();
            const float loss = session.step(x, std::span<const fe::Label>(labels));
            CHECK(std::abs(wide(loss) + wide(penalty) - c.at("loss").get<double>()) <= 1e-6);
            for (std::size_t a = 0; a < before.size(); ++a) {
                const std::string& key = keys[a];
                CAPTURE(key);
                if (key.empty()) continue;
                Doubles expected;
                if (key.starts_with("W"))
                    for (const Doubles& row : c.at("gradients").at(key).get<std::vector<Doubles>>())
                        expected.insert(expected.end(), row.begin(), row.end());
                else
                    expected = c.at("gradients").at(key).get<Doubles>();
                Doubles moved = before[a];
                for (std::size_t i = 0; i < moved.size(); ++i) moved[i] -= wide(session.parameter(a)[i]);
                CHECK(deviation(expected, moved) <= 1e-6);
                if (key.starts_with("W"))
                    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] -= decay * before[a][i];
                if (stored)
                    CHECK(deviation(expected, session.gradient(a)) <= 1e-6);
                else
                    CHECK(session.gradient(a).empty());
            }
            // The logits are what a loss without a link sees.
            fe::test::Learner plain(fe::Shape{sizes[0]}, layers,
                                    {.loss = fe::MeanSquaredError{}, .batch = batch});
            for (std::size_t a = 0; a < before.size(); ++a)
                for (std::size_t i = 0; i < before[a].size(); ++i)
                    plain.session().parameter(a)[i] = static_cast<float>(before[a][i]);
            const std::span<const float> z = plain.session().predict(x);
            for (std::size_t r = 0; r < batch && !normed; ++r)
                CHECK(deviation(logits[r], z.subspan(r * sizes.back(), sizes.back())) <= 1e-6);
        }
    }
    CHECK(cases == 6);
}

TEST_CASE("gradients: every activation before every loss, against finite differences") {
    std::size_t compared = 0;
    std::uint64_t seed = 100;
    for (const Activation& a : activations)
        for (const SampleLoss& l : losses) {
            CAPTURE(a.name);
            CAPTURE(l.name);
            const Net net{{6, 17, 4}, {&a, &activations[0]}, {true, true}, {false, false}};
            compared += check(net, l, 7, 7, ++seed);
            // The activation as the last layer too.
            if (a.name == std::string("softmax") && l.loss.link == fe::Link::softmax) continue;
            if (a.name == std::string("sigmoid") && l.loss.link == fe::Link::sigmoid) continue;
            const Net last{{5, 9, 5}, {&activations[4], &a}, {true, true}, {false, false}};
            compared += check(last, l, 3, 3, ++seed);
        }
    CHECK(compared == 28 * 191 + 26 * 104);
}

TEST_CASE("gradients: random networks with part of a batch, layers without bias and frozen layers") {
    const fe::test::PortableGenerator random{12};
    std::uint64_t at = 0;
    const auto below = [&](std::uint64_t n) { return static_cast<std::size_t>(random.bits(at++) % n); };
    std::size_t compared = 0;
    for (int i = 0; i < 60; ++i) {
        CAPTURE(i);
        const std::size_t depth = 1 + below(4);
        Net net;
        net.sizes.push_back(static_cast<std::uint32_t>(1 + below(20)));
        for (std::size_t l = 0; l < depth; ++l) {
            net.sizes.push_back(static_cast<std::uint32_t>(1 + below(l + 1 == depth ? 8 : 20)));
            net.behind.push_back(l + 1 == depth ? &activations[0] : &activations[below(6)]);
            net.bias.push_back(below(4) != 0);
            net.frozen.push_back(below(4) == 0);
        }
        net.frozen[below(depth)] = false;
        const std::uint32_t batch = static_cast<std::uint32_t>(1 + below(9));
        compared += check(net, losses[below(losses.size())], batch, 1 + below(batch),
                          1000 + 50 * static_cast<std::uint64_t>(i));
    }
    CHECK(compared > 5000);
}
