// Query vectors as the bodies want them: quantised, in blocks of registers, in aligned memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "maxsim.h"

namespace gingham {

constexpr std::size_t kAlignment = 64;

template <class T>
class AlignedArray {
public:
    explicit AlignedArray(std::size_t size) {
        data_ = static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t{kAlignment}));
        for (std::size_t i = 0; i < size; ++i) data_[i] = T{};
    }
    AlignedArray(AlignedArray&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
    AlignedArray& operator=(AlignedArray&&) = delete;
    ~AlignedArray() { ::operator delete(data_, std::align_val_t{kAlignment}); }
    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](std::size_t i) { return data_[i]; }

private:
    T* data_;
};

// Where a query vector lies in a packed query: value k at
// start + k / step * stride + k % step. Vectors are grouped in blocks of `rows` registers; a block
// holds, for each step of `step` dimensions, its registers one after the other, so that one pass
// over the block is one sequential read.
struct Place {
    std::size_t start, stride;
};

inline Place place(const InstructionSet& set, std::size_t registers, std::size_t n_steps,
                   std::size_t step, std::size_t vector) {
    const std::size_t own = vector / set.lanes;           // the vector's register
    const std::size_t first = own / set.rows * set.rows;  // the first of its block
    const std::size_t rows = std::min(set.rows, registers - first);
    const std::size_t lane = vector % set.lanes;
    return {((first * n_steps + own - first) * set.lanes + lane) * step, rows * set.lanes * step};
}

template <class Packed, class T>
AlignedArray<Packed> pack(const InstructionSet& set, const T* values, std::size_t n_vectors,
                          std::size_t dim, std::size_t registers, std::size_t step) {
    const std::size_t n_steps = (dim + step - 1) / step;
    AlignedArray<Packed> packed(registers * set.lanes * n_steps * step);
    for (std::size_t i = 0; i < n_vectors; ++i) {
        const Place at = place(set, registers, n_steps, step, i);
        const T* vector = values + i * dim;
        for (std::size_t k = 0; k < dim; k += step)
            for (std::size_t rest = 0; rest < std::min(step, dim - k); ++rest)
                packed[at.start + k / step * at.stride + rest] = vector[k + rest];
    }
    return packed;
}

// A query vector is scale * codes with scale = max |q| / 127 and codes = rint(q / scale).
struct QuantizedQuery {
    std::vector<float> scales;
    std::vector<std::int8_t> codes;
};

QuantizedQuery quantize(const Query& query);

// max |value|; several maxima side by side, so that it is vector work.
inline float largest_magnitude(const float* values, std::size_t n) {
    constexpr std::size_t kLanes = 16;
    float largest[kLanes] = {};
    for (std::size_t k = 0; k + kLanes <= n; k += kLanes)
        for (std::size_t j = 0; j < kLanes; ++j) {
            const float size = std::fabs(values[k + j]);
            largest[j] = size > largest[j] ? size : largest[j];
        }
    for (std::size_t k = n / kLanes * kLanes; k < n; ++k)
        largest[0] = std::max(largest[0], std::fabs(values[k]));
    return *std::max_element(largest, largest + kLanes);
}

// Half to even, for what is below 2^22: the addition leaves no room for a fraction. A loop of these
// becomes vector work, as calls of nearbyintf do not.
inline float to_nearest(float value) { return (value + 12582912.0f) - 12582912.0f; }

// int8 vectors packed for one instruction set, as many as may be: a query, or centroids.
class PackedInt8 {
public:
    // `start` is what the sum of each vector starts from, null for 0.
    PackedInt8(const InstructionSet& set, const std::int8_t* codes, std::size_t n_vectors,
               std::size_t dim, const std::int32_t* start = nullptr);
    const void* values() const { return values_.data(); }
    const std::int32_t* bias() const { return bias_.data(); }
    std::size_t registers() const { return registers_; }
    // Sums that one row makes, those of the padding included.
    std::size_t width() const { return registers_ * lanes_; }

private:
    std::size_t registers_, lanes_;
    AlignedArray<std::int32_t> bias_;
    AlignedArray<std::int8_t> values_;
};

// A query on the grid of a codebook, padded to its dim.
struct PackedQuery {
    QuantizedQuery quantized;
    PackedInt8 packed;
    std::size_t n_vectors, dim;
    PackedQuery(const Query& query, std::size_t dim, const InstructionSet& set);
};

// The sums of rows (n, dim) with packed vectors: (n, packed.width()). `scratch` as Work says.
void products(const InstructionSet& set, const PackedInt8& packed, const std::int8_t* rows,
              std::size_t n_rows, std::size_t dim, void* scratch, std::int32_t* sums);

}  // namespace gingham
