// The inner body of MaxSim, written once over the registers of an instruction set.
//
// It is the register-blocked core of a matrix product, with the product thrown away: a block of
// query vectors (`rows` registers of `lanes` vectors each) meets a tile of document tokens whose
// sums stay in registers; each step loads the query registers once and spreads one value of every
// token over all lanes. A finished tile only raises the maxima, so a document streams through once
// and no similarity is ever written to memory.
//
// Every unit that includes this gets its own copy (anonymous namespace) and it includes no heavy
// standard header, or the linker could pick a copy with AVX-512 in it for the baseline code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "maxsim.h"

#if defined(_MSC_VER) && !defined(__clang__)
#define GINGHAM_INLINE __forceinline
#define GINGHAM_NOINLINE __declspec(noinline)
#define GINGHAM_UNROLL
#elif defined(__clang__)
#define GINGHAM_NOINLINE __attribute__((noinline))
#define GINGHAM_INLINE inline __attribute__((always_inline))
#define GINGHAM_UNROLL _Pragma("unroll")
#else
#define GINGHAM_NOINLINE __attribute__((noinline))
#define GINGHAM_INLINE inline __attribute__((always_inline))
#define GINGHAM_UNROLL _Pragma("GCC unroll 32")
#endif

namespace gingham {
namespace {

// What `Op`, the arithmetic of one document type on one instruction set, provides:
//   rows, tile, lanes, step                      the blocking, see InstructionSet
//   Stored                                       the type of document values in memory
//   Operand                                      the type that they are multiplied as
//   Factor                                       the type of packed query values
//   converts, chunk, convert(in, out)            Stored -> Operand, `chunk` values at a time
//   Sums, Similarities                           a register of sums, of float32
//   start(bias) load(query) spread(operand)      how a sum starts, the two factors
//   add(sums, query, document)                   sums + query * document
//   similarities(sums, scale)                    as float32
//   raise(best, similarities)                    maximum; NaN never wins
//   load_best store_best prefetch
//   keeps                                        false: sums raise the maxima; true: they are stored
//   store_sums(to, sums)                         where int8 sums are kept

// Converts the rows of a tile; the tail of a row goes through a full-size copy, so nothing is ever
// read behind the end of the values.
template <class Op>
GINGHAM_NOINLINE void convert_rows(const typename Op::Stored* values, std::size_t n_rows, std::size_t dim,
                  std::size_t stride, typename Op::Operand* out) {
    for (std::size_t row = 0; row < n_rows; ++row) {
        const typename Op::Stored* in = values + row * dim;
        typename Op::Operand* to = out + row * stride;
        std::size_t k = 0;
        for (; k + Op::chunk <= dim; k += Op::chunk) Op::convert(in + k, to + k);
        if (k < dim) {
            typename Op::Stored rest[Op::chunk] = {};
            std::memcpy(rest, in + k, (dim - k) * sizeof(rest[0]));
            Op::convert(rest, to + k);
        }
    }
}

template <class Op, std::size_t Rows, std::size_t Tokens>
GINGHAM_INLINE void score_tile(const typename Op::Factor* query, const std::int32_t* bias,
                               const typename Op::Operand* tokens, std::size_t n_steps,
                               std::size_t stride, const float* scales, const char* ahead,
                               std::int32_t* kept, std::size_t kept_stride,
                               typename Op::Similarities (&best)[Rows]) {
    // The bytes that one step of this tile used, and that the next tile will need.
    constexpr std::size_t ahead_stride = Tokens * Op::step * sizeof(typename Op::Stored);
    typename Op::Sums sums[Tokens][Rows];
    GINGHAM_UNROLL
    for (std::size_t t = 0; t < Tokens; ++t) {
        GINGHAM_UNROLL
        for (std::size_t r = 0; r < Rows; ++r) sums[t][r] = Op::start(bias + r * Op::lanes);
    }
    for (std::size_t k = 0; k < n_steps; ++k) {
        Op::prefetch(ahead + k * ahead_stride);
        typename Op::Query factors[Rows];
        GINGHAM_UNROLL
        for (std::size_t r = 0; r < Rows; ++r)
            factors[r] = Op::load(query + (k * Rows + r) * Op::lanes * Op::step);
        GINGHAM_UNROLL
        for (std::size_t t = 0; t < Tokens; ++t) {
            const auto value = Op::spread(tokens + t * stride + k * Op::step);
            GINGHAM_UNROLL
            for (std::size_t r = 0; r < Rows; ++r)
                sums[t][r] = Op::add(sums[t][r], factors[r], value);
        }
    }
    if constexpr (Op::keeps) {
        GINGHAM_UNROLL
        for (std::size_t t = 0; t < Tokens; ++t) {
            GINGHAM_UNROLL
            for (std::size_t r = 0; r < Rows; ++r)
                Op::store_sums(kept + t * kept_stride + r * Op::lanes, sums[t][r]);
        }
        return;
    }
    GINGHAM_UNROLL
    for (std::size_t t = 0; t < Tokens; ++t) {
        const float* scale = scales ? scales + t : nullptr;
        GINGHAM_UNROLL
        for (std::size_t r = 0; r < Rows; ++r)
            best[r] = Op::raise(best[r], Op::similarities(sums[t][r], scale));
    }
}

// A tile of `n_tokens` <= Tokens tokens: the sums must be registers, so each count is its own code.
template <class Op, std::size_t Rows, std::size_t Tokens>
GINGHAM_INLINE void score_tile_of(std::size_t n_tokens, const typename Op::Factor* query,
                                  const std::int32_t* bias, const typename Op::Operand* tokens,
                                  std::size_t n_steps, std::size_t stride, const float* scales,
                                  const char* ahead, std::int32_t* kept, std::size_t kept_stride,
                                  typename Op::Similarities (&best)[Rows]) {
    if constexpr (Tokens > 1) {
        if (n_tokens < Tokens)
            return score_tile_of<Op, Rows, Tokens - 1>(n_tokens, query, bias, tokens, n_steps,
                                                       stride, scales, ahead, kept, kept_stride,
                                                       best);
    }
    score_tile<Op, Rows, Tokens>(query, bias, tokens, n_steps, stride, scales, ahead, kept,
                                 kept_stride, best);
}

// One document against one block of Rows query registers.
template <class Op, std::size_t Rows>
void score_block(const Work& work, std::size_t first) {
    const std::size_t n_steps = (work.dim + Op::step - 1) / Op::step;
    const auto* query =
        static_cast<const typename Op::Factor*>(work.query) + first * n_steps * Op::lanes * Op::step;
    const std::int32_t* bias = work.bias + first * Op::lanes;
    float* const maxima = Op::keeps ? nullptr : work.best + first * Op::lanes;
    typename Op::Similarities best[Rows];
    if constexpr (!Op::keeps)
        for (std::size_t r = 0; r < Rows; ++r) best[r] = Op::load_best(maxima + r * Op::lanes);
    const std::size_t kept_stride = work.registers * Op::lanes;

    // Tiles of equal size, give or take one: a last tile of one token would wait for its sums.
    std::size_t n_tiles = (work.n_tokens + Op::tile - 1) / Op::tile;
    for (std::size_t token = 0; n_tiles > 0; --n_tiles) {
        const std::size_t n_tokens = (work.n_tokens - token + n_tiles - 1) / n_tiles;
        const auto* values =
            static_cast<const typename Op::Stored*>(work.values) + token * work.dim;
        const char* ahead = static_cast<const char*>(
            n_tiles > 1 ? static_cast<const void*>(values + n_tokens * work.dim) : work.next);
        const float* scales = work.scales ? work.scales + token : nullptr;
        std::int32_t* kept = nullptr;
        if constexpr (Op::keeps) kept = work.sums + token * kept_stride + first * Op::lanes;
        if constexpr (Op::converts) {
            const std::size_t stride = scratch_stride(work.dim);
            auto* scratch = static_cast<typename Op::Operand*>(work.scratch);
            convert_rows<Op>(values, n_tokens, work.dim, stride, scratch);
            score_tile_of<Op, Rows, Op::tile>(n_tokens, query, bias, scratch, n_steps, stride,
                                              scales, ahead, kept, kept_stride, best);
        } else {
            score_tile_of<Op, Rows, Op::tile>(n_tokens, query, bias, values, n_steps, work.dim,
                                              scales, ahead, kept, kept_stride, best);
        }
        token += n_tokens;
    }
    if constexpr (!Op::keeps)
        for (std::size_t r = 0; r < Rows; ++r) Op::store_best(maxima + r * Op::lanes, best[r]);
}

// The last block may have fewer registers than the others.
template <class Op, std::size_t Rows>
void score_rest(const Work& work, std::size_t first) {
    if constexpr (Rows > 1) {
        if (work.registers - first < Rows) return score_rest<Op, Rows - 1>(work, first);
    }
    score_block<Op, Rows>(work, first);
}

// The same with the int8 sums stored: (n_tokens, registers * lanes) into `work.sums`.
template <class Op>
struct Kept : Op {
    static constexpr bool keeps = true;
};

template <class Op>
void score_document(const Work& work) {
    for (std::size_t first = 0; first < work.registers; first += Op::rows)
        score_rest<Op, Op::rows>(work, first);
}

}  // namespace
}  // namespace gingham
