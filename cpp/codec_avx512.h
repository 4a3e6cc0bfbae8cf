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

inline void above_avx512(const std::int32_t* sums, std::size_t stride, std::size_t n_rows,
                         const std::int32_t* limits, std::uint16_t* masks) {
    const __m512i limit = _mm512_loadu_si512(limits);
    for (std::size_t row = 0; row < n_rows; ++row, sums += stride)
        masks[row] = _mm512_cmpgt_epi32_mask(_mm512_loadu_si512(sums), limit);
}

// 16 codes at once: 48 bytes, spread to a word each. 64 are loaded where they are there: a masked
// load takes several times as long.
inline std::size_t choose_avx512(const Residuals& codec, const std::uint8_t* codes,
                                 std::size_t n_tokens, std::size_t n_readable,
                                 const std::uint64_t* wanted, std::uint32_t* tokens,
                                 std::uint32_t* centroids) {
    const __m512i quarters =
        _mm512_setr_epi32(0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 9, 10, 11, 0);
    const __m512i spread = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1));
    const __m512i last = _mm512_set1_epi32(static_cast<int>(codec.n_centroids - 1));
    __m512i numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    std::size_t n = 0;
    for (std::size_t from = 0; from < n_tokens; from += 16) {
        const std::size_t count = n_tokens - from < 16 ? n_tokens - from : 16;
        const std::uint8_t* at = codes + from * kCodeBytes;
        const __m512i bytes =
            (n_readable - from) * kCodeBytes >= 64
                ? _mm512_loadu_si512(at)
                : _mm512_maskz_loadu_epi8(~std::uint64_t{0} >> (64 - count * kCodeBytes), at);
        const __m512i code =
            _mm512_shuffle_epi8(_mm512_permutexvar_epi32(quarters, bytes), spread);
        const __m512i centroid =
            _mm512_min_epu32(_mm512_and_si512(code, _mm512_set1_epi32(0xfffff)), last);
        const __m512i words = _mm512_i32gather_epi32(_mm512_srli_epi32(centroid, 5), wanted, 4);
        const __m512i bit = _mm512_sllv_epi32(
            _mm512_set1_epi32(1), _mm512_and_si512(centroid, _mm512_set1_epi32(31)));
        const __mmask16 chosen = static_cast<__mmask16>(_mm512_test_epi32_mask(words, bit) &
                                                        (0xffffu >> (16 - count)));
        _mm512_storeu_si512(tokens + n, _mm512_maskz_compress_epi32(chosen, numbers));
        _mm512_storeu_si512(centroids + n, _mm512_maskz_compress_epi32(chosen, centroid));
        n += static_cast<std::size_t>(_mm_popcnt_u32(chosen));
        numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32(16));
    }
    return n;
}

}  // namespace
}  // namespace gingham
