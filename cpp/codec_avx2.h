// Registers of bytes for codec_body.h: 32 with AVX2, 16 for short residuals.
#pragma once

#include <immintrin.h>

#include "codec_body.h"

namespace gingham {
namespace {

struct Bytes32 {
    static constexpr std::size_t width = 32;
    using Register = __m256i;
    using Sums = __m256i;
    static GINGHAM_INLINE Register load(const void* from) {
        return _mm256_loadu_si256(static_cast<const __m256i*>(from));
    }
    static GINGHAM_INLINE void store(void* to, Register bytes) {
        _mm256_storeu_si256(static_cast<__m256i*>(to), bytes);
    }
    static GINGHAM_INLINE Register table(const void* points) {
        return _mm256_broadcastsi128_si256(
            _mm_loadu_si128(static_cast<const __m128i*>(points)));
    }
    static GINGHAM_INLINE Sums zero() { return _mm256_setzero_si256(); }
    static GINGHAM_INLINE Register low(Register bytes) {
        return _mm256_and_si256(bytes, _mm256_set1_epi8(15));
    }
    static GINGHAM_INLINE Register high(Register bytes) {
        return _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(15));
    }
    static GINGHAM_INLINE Register pick(Register points, Register nibbles) {
        return _mm256_shuffle_epi8(points, nibbles);
    }
    static GINGHAM_INLINE Register add(Register a, Register b) {
        return _mm256_max_epi8(_mm256_adds_epi8(a, b), _mm256_set1_epi8(-127));
    }
    // Two squares of at most 127 fit into 16 bits. A stored -128, which only damage makes, is its
    // own absolute value and gives a wrong length, not a fault.
    static GINGHAM_INLINE Sums square(Sums sums, Register bytes) {
        const __m256i sizes = _mm256_abs_epi8(bytes);
        const __m256i pairs = _mm256_maddubs_epi16(sizes, sizes);
        return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    static GINGHAM_INLINE std::int32_t total(Sums sums) {
        __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
        half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
        return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
    }
    static GINGHAM_INLINE void prefetch(const char* address) { _mm_prefetch(address, _MM_HINT_T0); }
};

struct Bytes16 {
    static constexpr std::size_t width = 16;
    using Register = __m128i;
    using Sums = __m128i;
    static GINGHAM_INLINE Register load(const void* from) {
        return _mm_loadu_si128(static_cast<const __m128i*>(from));
    }
    static GINGHAM_INLINE void store(void* to, Register bytes) {
        _mm_storeu_si128(static_cast<__m128i*>(to), bytes);
    }
    static GINGHAM_INLINE Register table(const void* points) { return load(points); }
    static GINGHAM_INLINE Sums zero() { return _mm_setzero_si128(); }
    static GINGHAM_INLINE Register low(Register bytes) {
        return _mm_and_si128(bytes, _mm_set1_epi8(15));
    }
    static GINGHAM_INLINE Register high(Register bytes) {
        return _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
    }
    static GINGHAM_INLINE Register pick(Register points, Register nibbles) {
        return _mm_shuffle_epi8(points, nibbles);
    }
    static GINGHAM_INLINE Register add(Register a, Register b) {
        return _mm_max_epi8(_mm_adds_epi8(a, b), _mm_set1_epi8(-127));
    }
    static GINGHAM_INLINE Sums square(Sums sums, Register bytes) {
        const __m128i sizes = _mm_abs_epi8(bytes);
        const __m128i pairs = _mm_maddubs_epi16(sizes, sizes);
        return _mm_add_epi32(sums, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
    }
    static GINGHAM_INLINE std::int32_t total(Sums sums) {
        sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4e));
        return _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xb1)));
    }
    static GINGHAM_INLINE void prefetch(const char* address) { _mm_prefetch(address, _MM_HINT_T0); }
};

inline void above_avx2(const std::int32_t* sums, std::size_t stride, std::size_t n_rows,
                       const std::int32_t* limits, std::uint16_t* masks) {
    const __m256i low = Bytes32::load(limits), high = Bytes32::load(limits + 8);
    const auto half = [](const std::int32_t* at, __m256i limit) {
        const __m256i above = _mm256_cmpgt_epi32(Bytes32::load(at), limit);
        return _mm256_movemask_ps(_mm256_castsi256_ps(above));
    };
    for (std::size_t row = 0; row < n_rows; ++row, sums += stride)
        masks[row] = static_cast<std::uint16_t>(half(sums, low) | half(sums + 8, high) << 8);
}

}  // namespace
}  // namespace gingham
