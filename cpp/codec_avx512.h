// Registers of 64 bytes for codec_body.h.
#pragma once

#include "codec_avx2.h"

namespace gingham {
namespace {

struct Bytes64 {
    static constexpr std::size_t width = 64;
    using Register = __m512i;
    using Sums = __m512i;
    static GINGHAM_INLINE Register load(const void* from) { return _mm512_loadu_si512(from); }
    static GINGHAM_INLINE void store(void* to, Register bytes) { _mm512_storeu_si512(to, bytes); }
    static GINGHAM_INLINE Register table(const void* points) {
        return _mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(points)));
    }
    static GINGHAM_INLINE Sums zero() { return _mm512_setzero_si512(); }
    static GINGHAM_INLINE Register low(Register bytes) {
        return _mm512_and_si512(bytes, _mm512_set1_epi8(15));
    }
    static GINGHAM_INLINE Register high(Register bytes) {
        return _mm512_and_si512(_mm512_srli_epi16(bytes, 4), _mm512_set1_epi8(15));
    }
    static GINGHAM_INLINE Register pick(Register points, Register nibbles) {
        return _mm512_shuffle_epi8(points, nibbles);
    }
    static GINGHAM_INLINE Register add(Register a, Register b) {
        return _mm512_max_epi8(_mm512_adds_epi8(a, b), _mm512_set1_epi8(-127));
    }
    static GINGHAM_INLINE Sums square(Sums sums, Register bytes) {
        const __m512i sizes = _mm512_abs_epi8(bytes);
        const __m512i pairs = _mm512_maddubs_epi16(sizes, sizes);
        return _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
    }
    static GINGHAM_INLINE std::int32_t total(Sums sums) {
        return Bytes32::total(_mm256_add_epi32(_mm512_castsi512_si256(sums),
                                               _mm512_extracti64x4_epi64(sums, 1)));
    }
    static GINGHAM_INLINE void prefetch(const char* address) { _mm_prefetch(address, _MM_HINT_T0); }
};

inline std::uint32_t above_avx512(const std::int32_t* sums, const std::int32_t* limits) {
    return _mm512_cmpgt_epi32_mask(_mm512_loadu_si512(sums), _mm512_loadu_si512(limits));
}

}  // namespace
}  // namespace gingham
