// What the AVX-512 units share: 16 lanes, and the parts of `Op` (maxsim_body.h) common to them.
#pragma once

#include <immintrin.h>

#include "maxsim_body.h"

namespace gingham {
namespace {

struct Avx512 {
    static constexpr std::size_t lanes = 16, rows = 2, tile = 12;
    static constexpr bool keeps = false;
    using Similarities = __m512;
    // vmaxps gives its second operand where either is NaN.
    static GINGHAM_INLINE __m512 raise(__m512 best, __m512 similarities) {
        return _mm512_max_ps(similarities, best);
    }
    static GINGHAM_INLINE __m512 load_best(const float* best) { return _mm512_loadu_ps(best); }
    static GINGHAM_INLINE void store_best(float* to, __m512 best) { _mm512_storeu_ps(to, best); }
    static GINGHAM_INLINE void prefetch(const char* address) {
        _mm_prefetch(address, _MM_HINT_T0);
    }
};

struct Avx512Float32 : Avx512 {
    using Stored = float;
    using Operand = float;
    using Factor = float;
    using Query = __m512;
    using Sums = __m512;
    static constexpr std::size_t step = 1;
    static constexpr bool converts = false;
    static GINGHAM_INLINE Sums start(const std::int32_t*) { return _mm512_setzero_ps(); }
    static GINGHAM_INLINE Query load(const Factor* query) { return _mm512_loadu_ps(query); }
    static GINGHAM_INLINE Query spread(const Operand* value) { return _mm512_set1_ps(*value); }
    static GINGHAM_INLINE Sums add(Sums sums, Query query, Query value) {
        return _mm512_fmadd_ps(query, value, sums);
    }
    static GINGHAM_INLINE __m512 similarities(Sums sums, const float*) { return sums; }
};

struct Avx512Int8 : Avx512 {
    using Query = __m512i;
    using Sums = __m512i;
    static constexpr bool converts = true;
    static GINGHAM_INLINE Sums start(const std::int32_t* bias) { return _mm512_loadu_si512(bias); }
    static GINGHAM_INLINE Query load(const void* query) { return _mm512_loadu_si512(query); }
    static GINGHAM_INLINE Query spread(const void* values) {
        std::int32_t four_bytes;
        std::memcpy(&four_bytes, values, sizeof(four_bytes));
        return _mm512_set1_epi32(four_bytes);
    }
    static GINGHAM_INLINE void store_sums(std::int32_t* to, Sums sums) {
        _mm512_storeu_si512(to, sums);
    }
    static GINGHAM_INLINE __m512 similarities(Sums sums, const float* scale) {
        return _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(*scale));
    }
};

}  // namespace
}  // namespace gingham
