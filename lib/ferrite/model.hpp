// SPDX-License-Identifier: MIT
// Model: an input shape and a row of layers, as a constexpr value (Model) or at run time (DynamicModel).
// Includes layers/*.
#pragma once

#include <ferrite/layers/activation.hpp>
#include <ferrite/layers/dense.hpp>
#include <ferrite/layers/dropout.hpp>
#include <ferrite/layers/flatten.hpp>
#include <ferrite/layers/normalization.hpp>

#include <bit>
#include <concepts>
#include <cstring>
#include <tuple>
#include <utility>

namespace ferrite {

/// A layer is a small value type that
/// - says what one sample of shape `in` becomes: output(in), a Shape without elements if it cannot take `in`;
/// - emits its forward steps, sets Node::y; emits its backward steps, sets Node::dx if Node::wants_dx;
/// - has a name, and a Nonlinearity by which the layer before it is initialized;
/// - names its configuration: fields(self, visit) calls visit(field) for each, for files.
/// A type of your own that does so needs no registration.
template <class L>
concept Layer = std::is_trivially_copyable_v<L> && requires(const L& layer, Shape in, Emitter& e, Node& n) {
    { layer.output(in) } -> std::same_as<Shape>;
    { layer.forward(e, n) } -> std::same_as<void>;
    { layer.backward(e, n) } -> std::same_as<void>;
    { L::name } -> std::convertible_to<const char*>;
    { L::nonlinearity } -> std::convertible_to<Nonlinearity>;
};

/// A network as a value: for a constexpr object with static storage, which Trainer and Predictor take as argument.
template <Layer... Layers>
struct Model {
    static constexpr std::size_t layer_count = sizeof...(Layers);
    Shape input;
    std::tuple<Layers...> layers;

    [[nodiscard]] constexpr std::size_t size() const noexcept { return layer_count; }
    /// visit(layer) first to last.
    template <class Visit>
    constexpr void for_each(Visit&& visit) const noexcept {
        std::apply([&](const Layers&... layer) { (visit(layer), ...); }, layers);
    }
    /// visit(layer) last to first.
    template <class Visit>
    constexpr void for_each_reverse(Visit&& visit) const noexcept {
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            (visit(std::get<layer_count - 1 - I>(layers)), ...);
        }(std::make_index_sequence<layer_count>{});
    }
};

/// The network that passes samples of shape `input` through `layers` in order.
template <Layer... Layers>
[[nodiscard]] constexpr Model<Layers...> sequential(Shape input, Layers... layers) noexcept {
    return {input, std::tuple<Layers...>{layers...}};
}

/// Little-endian bytes into a span; keeps counting past its end, so that a first run with an empty span measures.
class ByteWriter {
  public:
    explicit ByteWriter(std::span<std::byte> out) noexcept : out_(out) {}
    void operator()(std::uint32_t value) noexcept {
        for (int i = 0; i < 4; ++i, ++position_)
            if (position_ < out_.size()) out_[position_] = static_cast<std::byte>(value >> (8 * i));
    }
    void operator()(bool value) noexcept { (*this)(value ? std::uint32_t{1} : std::uint32_t{0}); }
    void operator()(float value) noexcept { (*this)(std::bit_cast<std::uint32_t>(value)); }
    void operator()(Initializer value) noexcept {
        (*this)(static_cast<std::uint32_t>(value.kind));
        (*this)(value.value);
    }
    [[nodiscard]] std::size_t position() const noexcept { return position_; }
    [[nodiscard]] bool fits() const noexcept { return position_ <= out_.size(); }

  private:
    std::span<std::byte> out_;
    std::size_t position_ = 0;
};

/// The inverse of ByteWriter. Past the end it yields zeros and ok() is false; likewise for a value out of its range.
class ByteReader {
  public:
    explicit ByteReader(std::span<const std::byte> in) noexcept : in_(in) {}
    void operator()(std::uint32_t& value) noexcept {
        value = 0;
        if (in_.size() - position_ < 4) {
            ok_ = false;
            return;
        }
        for (int i = 0; i < 4; ++i, ++position_) value |= std::to_integer<std::uint32_t>(in_[position_]) << (8 * i);
    }
    void operator()(bool& value) noexcept {
        const std::uint32_t word = read();
        ok_ = ok_ && word <= 1;
        value = word == 1;
    }
    void operator()(float& value) noexcept { value = std::bit_cast<float>(read()); }
    void operator()(Initializer& value) noexcept {
        const std::uint32_t kind = read();
        ok_ = ok_ && kind <= static_cast<std::uint32_t>(Initializer::Kind::he_uniform);
        value.kind = ok_ ? static_cast<Initializer::Kind>(kind) : Initializer::Kind::automatic;
        (*this)(value.value);
    }
    [[nodiscard]] std::uint32_t read() noexcept {
        std::uint32_t value;
        (*this)(value);
        return value;
    }
    [[nodiscard]] std::size_t position() const noexcept { return position_; }
    [[nodiscard]] bool ok() const noexcept { return ok_; }

  private:
    std::span<const std::byte> in_;
    std::size_t position_ = 0;
    bool ok_ = true;
};

/// What an AnyLayer without a layer is: it takes no shape.
struct NoLayer {
    static constexpr const char* name = "";
    static constexpr Nonlinearity nonlinearity = Nonlinearity::transparent;
    template <class Self, class Visit>
    static constexpr void fields(Self&, Visit&&) {}
    [[nodiscard]] constexpr Shape output(Shape) const noexcept { return {}; }
    constexpr void forward(Emitter&, Node&) const noexcept {}
    constexpr void backward(Emitter&, Node&) const noexcept {}
};

/// Any layer as a value of one type, for models that are made at run time. Holds a copy of the layer, 48 bytes at most.
class AnyLayer {
  public:
    AnyLayer() noexcept = default;  ///< shape_mismatch in every model
    template <Layer L>
        requires(!std::same_as<L, AnyLayer> && sizeof(L) <= 48 && alignof(L) <= 8)
    AnyLayer(const L& layer) noexcept : operations_(&operations_of<L>) {
        std::memcpy(storage_, &layer, sizeof(L));
    }
    [[nodiscard]] const char* name() const noexcept { return operations_->name; }
    [[nodiscard]] Nonlinearity nonlinearity() const noexcept { return operations_->nonlinearity; }
    [[nodiscard]] Shape output(Shape in) const noexcept { return operations_->output(storage_, in); }
    void forward(Emitter& e, Node& n) const noexcept { operations_->forward(storage_, e, n); }
    void backward(Emitter& e, Node& n) const noexcept { operations_->backward(storage_, e, n); }
    void write(ByteWriter& writer) const noexcept { operations_->write(storage_, writer); }
    /// The layer itself if it is an `L`; null otherwise. Valid as long as this object.
    template <Layer L>
    [[nodiscard]] L* get() noexcept {
        return operations_ == &operations_of<L> ? reinterpret_cast<L*>(storage_) : nullptr;
    }

  private:
    struct Operations {
        const char* name;
        Nonlinearity nonlinearity;
        Shape (*output)(const std::byte*, Shape) noexcept;
        void (*forward)(const std::byte*, Emitter&, Node&) noexcept;
        void (*backward)(const std::byte*, Emitter&, Node&) noexcept;
        void (*write)(const std::byte*, ByteWriter&) noexcept;
    };
    template <class L>
    static L load(const std::byte* storage) noexcept {
        L layer{};
        std::memcpy(&layer, storage, sizeof(L));
        return layer;
    }
    template <class L>
    static constexpr Operations operations_of{
        L::name,
        L::nonlinearity,
        [](const std::byte* s, Shape in) noexcept { return load<L>(s).output(in); },
        [](const std::byte* s, Emitter& e, Node& n) noexcept { load<L>(s).forward(e, n); },
        [](const std::byte* s, Emitter& e, Node& n) noexcept { load<L>(s).backward(e, n); },
        [](const std::byte* s, ByteWriter& writer) noexcept {
            L layer = load<L>(s);
            L::fields(layer, writer);
        }};

    const Operations* operations_ = &operations_of<NoLayer>;
    alignas(8) std::byte storage_[48]{};
};

/// A network that arrives at run time; does not own its layers.
struct DynamicModel {
    Shape input;
    std::span<const AnyLayer> layers;

    [[nodiscard]] std::size_t size() const noexcept { return layers.size(); }
    template <class Visit>
    void for_each(Visit&& visit) const noexcept {
        for (const AnyLayer& layer : layers) visit(layer);
    }
    template <class Visit>
    void for_each_reverse(Visit&& visit) const noexcept {
        for (std::size_t i = layers.size(); i-- > 0;) visit(layers[i]);
    }
};

// What a layer says of itself, whether it is an AnyLayer or not.
template <class L>
[[nodiscard]] constexpr Nonlinearity nonlinearity_of(const L& layer) noexcept {
    if constexpr (std::same_as<L, AnyLayer>)
        return layer.nonlinearity();
    else
        return L::nonlinearity;
}
template <class L>
[[nodiscard]] constexpr const char* name_of(const L& layer) noexcept {
    if constexpr (std::same_as<L, AnyLayer>)
        return layer.name();
    else
        return L::name;
}
template <class L>
void write_fields(const L& layer, ByteWriter& writer) noexcept {
    if constexpr (std::same_as<L, AnyLayer>)
        layer.write(writer);
    else
        L::fields(layer, writer);
}

}  // namespace ferrite
