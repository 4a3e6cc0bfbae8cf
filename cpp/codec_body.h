// Decoding and encoding, written once. `Bytes`, which a unit provides, is a register of bytes:
//   width                       16, 32 or 64
//   Register, Sums              of bytes, of int32
//   load store zero             low(b) high(b): the nibbles of each byte
//   pick(points, nibbles)       a table of 16 bytes looked up
//   add(a, b)                   saturating, then not below -127
//   square(sums, bytes) total(sums)
// Encoding is plain loops that each unit's compiler flags turn into its own vectors.
//
// As in maxsim_body.h, everything is in the anonymous namespace and no heavy header is included.
#pragma once

#include <math.h>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "codec.h"
#include "maxsim_body.h"

namespace gingham {
namespace {

template <class Bytes, std::size_t Parts>
GINGHAM_INLINE typename Bytes::Sums decode_row(const std::int8_t* centroid, const std::int8_t* points,
                                               const std::uint8_t* residual, std::size_t n_bytes,
                                               std::int8_t* row) {
    typename Bytes::Sums squares = Bytes::zero();
    typename Bytes::Register tables[Parts];
    GINGHAM_UNROLL
    for (std::size_t part = 0; part < Parts; ++part)
        tables[part] = Bytes::table(points + part * kPoints);
    for (std::size_t i = 0; i < n_bytes; i += Bytes::width) {
        const auto packed = Bytes::load(residual + i);
        const auto low = Bytes::low(packed), high = Bytes::high(packed);
        GINGHAM_UNROLL
        for (std::size_t part = 0; part < Parts; ++part) {
            const std::size_t first = part * 2 * n_bytes + i, second = first + n_bytes;
            const auto a = Bytes::add(Bytes::load(centroid + first), Bytes::pick(tables[part], low));
            const auto b =
                Bytes::add(Bytes::load(centroid + second), Bytes::pick(tables[part], high));
            Bytes::store(row + first, a);
            Bytes::store(row + second, b);
            squares = Bytes::square(Bytes::square(squares, a), b);
        }
    }
    return squares;
}

// In place: squared lengths, whole numbers in the memory of floats, to what makes unit length.
GINGHAM_INLINE void invert_lengths(float* scales, std::size_t n) {
    for (std::size_t t = 0; t < n; ++t) {
        std::int32_t squares;
        std::memcpy(&squares, scales + t, sizeof(squares));
        const float length = sqrtf(static_cast<float>(squares > 0 ? squares : 1));
        scales[t] = squares > 0 ? 1.0f / length : 0.0f;
    }
}

template <class Bytes>
GINGHAM_INLINE void copy_rows(const Residuals& codec, const std::uint8_t* residuals,
                              const std::uint32_t* picks, std::size_t n, std::int8_t* rows,
                              float* scales) {
    for (std::size_t t = 0; t < n; ++t) {
        const std::uint8_t* residual = residuals + (picks ? picks[t] : t) * codec.dim;
        typename Bytes::Sums squares = Bytes::zero();
        for (std::size_t i = 0; i < codec.dim; i += Bytes::width) {
            const auto bytes = Bytes::load(residual + i);
            Bytes::store(rows + t * codec.dim + i, bytes);
            squares = Bytes::square(squares, bytes);
        }
        const std::int32_t total = Bytes::total(squares);
        std::memcpy(scales + t, &total, sizeof(total));
    }
    invert_lengths(scales, n);
}

template <class Bytes, std::size_t Parts>
GINGHAM_INLINE void decode_parts(const Residuals& codec, const std::uint8_t* codes,
                                 const std::uint8_t* residuals, const std::uint32_t* picks,
                                 std::size_t n, std::int8_t* rows, float* scales) {
    const std::size_t n_bytes = codec.dim / (2 * Parts);
    for (std::size_t t = 0; t < n; ++t) {
        const std::size_t token = picks ? picks[t] : t;
        const std::uint8_t* code = codes + token * kCodeBytes;
        const std::int8_t* centroid =
            codec.centroids + centroid_of(code, codec.n_centroids) * codec.dim;
        const auto squares = decode_row<Bytes, Parts>(
            centroid, codec.points + (code[2] >> 4) * Parts * kPoints, residuals + token * n_bytes,
            n_bytes, rows + t * codec.dim);
        const std::int32_t total = Bytes::total(squares);
        std::memcpy(scales + t, &total, sizeof(total));
    }
    invert_lengths(scales, n);
}

template <class Bytes>
void decode_with(const Residuals& codec, const std::uint8_t* codes, const std::uint8_t* residuals,
                 const std::uint32_t* picks, std::size_t n, std::int8_t* rows, float* scales) {
    switch (codec.bits) {
        case 8: return copy_rows<Bytes>(codec, residuals, picks, n, rows, scales);
        case 4: return decode_parts<Bytes, 1>(codec, codes, residuals, picks, n, rows, scales);
        case 2: return decode_parts<Bytes, 2>(codec, codes, residuals, picks, n, rows, scales);
        default: return decode_parts<Bytes, 4>(codec, codes, residuals, picks, n, rows, scales);
    }
}

// With the first of the registers, the widest, that a residual fills; the last has 16 bytes.
template <class Bytes, class... Narrower>
void decode_rows(const Residuals& codec, const std::uint8_t* codes, const std::uint8_t* residuals,
                 const std::uint32_t* picks, std::size_t n, std::int8_t* rows, float* scales) {
    if constexpr (sizeof...(Narrower) > 0) {
        if (codec.row_bytes() % Bytes::width != 0)
            return decode_rows<Narrower...>(codec, codes, residuals, picks, n, rows, scales);
    }
    decode_with<Bytes>(codec, codes, residuals, picks, n, rows, scales);
}

// Half to even, for what is below 2^22: the addition leaves no room for a fraction.
GINGHAM_INLINE float rounded(float value) { return (value + 12582912.0f) - 12582912.0f; }

GINGHAM_INLINE float clipped(float value, float limit) {
    value = value > limit ? limit : value;
    return value < -limit ? -limit : value;
}

// The nearest point of each group of dimensions, the first of equals.
template <std::size_t Parts>
void nearest_points(const std::int16_t* residual, const std::int8_t* points, std::size_t n_groups,
                    std::int16_t* nearest) {
    if constexpr (Parts == 1) {  // points ascend: count the midpoints below
        for (std::size_t i = 0; i < n_groups; ++i) nearest[i] = 0;
        for (std::size_t p = 0; p + 1 < kPoints; ++p) {
            const auto middle = static_cast<std::int16_t>(kFiner / 2 * (points[p] + points[p + 1]));
            for (std::size_t i = 0; i < n_groups; ++i)
                nearest[i] = static_cast<std::int16_t>(nearest[i] + (residual[i] > middle));
        }
    } else {
        constexpr std::size_t kBlock = 16;
        for (std::size_t from = 0; from < n_groups; from += kBlock) {
            std::int32_t best[kBlock], at[kBlock];
            for (std::size_t i = 0; i < kBlock; ++i) best[i] = INT32_MAX, at[i] = 0;
            for (std::size_t p = 0; p < kPoints; ++p) {
                std::int32_t distance[kBlock] = {};
                for (std::size_t part = 0; part < Parts; ++part) {
                    const std::int32_t point = kFiner * points[part * kPoints + p];
                    const std::int16_t* values = residual + part * n_groups + from;
                    for (std::size_t i = 0; i < kBlock; ++i) {
                        const std::int32_t difference = values[i] - point;
                        distance[i] += difference * difference;
                    }
                }
                for (std::size_t i = 0; i < kBlock; ++i) {
                    const bool nearer = distance[i] < best[i];
                    best[i] = nearer ? distance[i] : best[i];
                    at[i] = nearer ? static_cast<std::int32_t>(p) : at[i];
                }
            }
            for (std::size_t i = 0; i < kBlock; ++i)
                nearest[from + i] = static_cast<std::int16_t>(at[i]);
        }
    }
}

// `fine` holds the token on the finer grid, `nearest` one number a nibble; both are scratch.
inline void encode_row(const Residuals& codec, const float* values, std::uint32_t centroid,
                       std::uint8_t* code, std::uint8_t* residual, std::int16_t* fine,
                       std::int16_t* nearest) {
    code[0] = static_cast<std::uint8_t>(centroid);
    code[1] = static_cast<std::uint8_t>(centroid >> 8);
    code[2] = static_cast<std::uint8_t>(centroid >> 16);
    if (codec.bits == 8) {
        float largest = 0;
        for (std::size_t k = 0; k < codec.source; ++k) {
            const float size = fabsf(values[k]);
            largest = size > largest ? size : largest;
        }
        const float scale = largest > 0 ? 127.0f / largest : 0.0f;
        for (std::size_t k = 0; k < codec.dim; ++k) {
            const float value = k < codec.source ? rounded(clipped(values[k] * scale, 127.0f)) : 0;
            residual[k] = static_cast<std::uint8_t>(static_cast<std::int8_t>(value));
        }
        return;
    }
    const std::int8_t* base = codec.centroids + std::size_t{centroid} * codec.dim;
    const float scale = codec.scale * kFiner;
    for (std::size_t k = 0; k < codec.source; ++k)
        fine[k] = static_cast<std::int16_t>(rounded(clipped(values[k] * scale, 127.0f * kFiner)));
    for (std::size_t k = codec.source; k < codec.dim; ++k) fine[k] = 0;
    std::int64_t squares = 0;
    for (std::size_t k = 0; k < codec.dim; ++k) {
        fine[k] = static_cast<std::int16_t>(fine[k] - kFiner * base[k]);
        squares += std::int32_t{fine[k]} * fine[k];
    }
    std::size_t level = 0;
    while (level + 1 < kLevels && squares >= codec.levels[level]) ++level;
    code[2] = static_cast<std::uint8_t>(code[2] | level << 4);

    const std::size_t parts = 4 / codec.bits, n_bytes = codec.row_bytes();
    const std::int8_t* points = codec.points + level * parts * kPoints;
    if (parts == 1) nearest_points<1>(fine, points, 2 * n_bytes, nearest);
    if (parts == 2) nearest_points<2>(fine, points, 2 * n_bytes, nearest);
    if (parts == 4) nearest_points<4>(fine, points, 2 * n_bytes, nearest);
    for (std::size_t i = 0; i < n_bytes; ++i)
        residual[i] = static_cast<std::uint8_t>(nearest[i] | nearest[i + n_bytes] << 4);
}

void encode_rows(const Residuals& codec, const float* values, const std::uint32_t* centroids,
                 std::size_t n, std::uint8_t* codes, std::uint8_t* residuals) {
    // kMaxRow bounds what a codec may have: checked by whoever fills in `codec`.
    alignas(64) std::int16_t fine[kMaxRow], nearest[kMaxRow];
    for (std::size_t t = 0; t < n; ++t)
        encode_row(codec, values + t * codec.source, centroids[t], codes + t * kCodeBytes,
                   residuals + t * codec.row_bytes(), fine, nearest);
}

inline void above(const std::int32_t* sums, std::size_t stride, std::size_t n_rows,
                  const std::int32_t* limits, std::uint16_t* masks) {
    for (std::size_t row = 0; row < n_rows; ++row, sums += stride) {
        std::uint32_t mask = 0;
        for (std::uint32_t i = 0; i < 16; ++i) mask |= std::uint32_t{sums[i] > limits[i]} << i;
        masks[row] = static_cast<std::uint16_t>(mask);
    }
}

// Without a branch: which tokens are wanted cannot be guessed.
inline std::size_t choose(const Residuals& codec, const std::uint8_t* codes, std::size_t n_tokens,
                          std::size_t, const std::uint64_t* wanted, std::uint32_t* tokens,
                          std::uint32_t* centroids) {
    std::size_t n = 0;
    for (std::size_t t = 0; t < n_tokens; ++t) {
        const std::uint32_t centroid = centroid_of(codes + t * kCodeBytes, codec.n_centroids);
        tokens[n] = static_cast<std::uint32_t>(t);
        centroids[n] = centroid;
        n += wanted[centroid / 64] >> centroid % 64 & 1;
    }
    return n;
}

// In blocks: their maxima are vector work, and only the winning block is looked through.
std::size_t largest_of(const std::int32_t* sums, std::size_t n) {
    constexpr std::size_t kBlock = 64;
    std::int32_t best = INT32_MIN;
    std::size_t at = 0;
    for (std::size_t from = 0; from < n; from += kBlock) {
        std::int32_t largest = INT32_MIN;
        if (from + kBlock <= n) {
            for (std::size_t i = 0; i < kBlock; ++i)
                largest = sums[from + i] > largest ? sums[from + i] : largest;
        } else {
            for (std::size_t i = from; i < n; ++i) largest = sums[i] > largest ? sums[i] : largest;
        }
        if (largest > best) best = largest, at = from;
    }
    while (at < n && sums[at] != best) ++at;
    return at;
}

}  // namespace
}  // namespace gingham
