// What the kernels compute, and the table that each instruction set fills in. No Python in here.
//
// MaxSim (ColBERT, eq. 3: https://arxiv.org/abs/2004.12832) of a query and one document:
//     score = sum over query vectors i of max over document tokens j of q_i . d_j
// The documents are ragged: document n owns the rows offsets[n] .. offsets[n + 1] of `values`.
//
// Rules that hold for every instruction set:
// - Maxima start at -inf: a document without tokens scores -inf, a query without vectors 0.
// - A NaN similarity never wins a maximum.
// - Scores are summed in query order in float32, so int8 scores are the same bytes everywhere.
// - A score depends on no other document and not on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#if defined(_MSC_VER) && !defined(__clang__)
#define GINGHAM_RESTRICT __restrict
#else
#define GINGHAM_RESTRICT __restrict__
#endif

namespace gingham {

// One document against a packed query: what the inner body of an instruction set works on.
struct Work {
    const void* query;         // packed, see maxsim.cpp
    const std::int32_t* bias;  // what an int8 sum of each query vector starts from
    std::size_t registers;     // query registers, the last padded with zeros
    std::size_t dim;
    const void* values;   // the document's first row
    const float* scales;  // int8: one a row
    std::size_t n_tokens;
    const void* next;  // where the next document starts: fetched ahead
    void* scratch;     // tile * scratch_stride(dim) * 4 bytes, 64-byte aligned
    float* best;       // registers * lanes; comes in as -inf, goes out as the maxima
    std::int32_t* sums;  // for products only: (n_tokens, registers * lanes), goes out
};

using Body = void (*)(const Work&);

struct Residuals;  // codec.h
// Token t of the output is token `picks[t]` of codes and residuals; t itself where picks is null.
using Decode = void (*)(const Residuals& codec, const std::uint8_t* codes,
                        const std::uint8_t* residuals, const std::uint32_t* picks,
                        std::size_t n_tokens, std::int8_t* rows, float* scales);
using Encode = void (*)(const Residuals& codec, const float* values, const std::uint32_t* centroids,
                        std::size_t n_tokens, std::uint8_t* codes, std::uint8_t* residuals);
// The position of the largest of n sums, the first of equals.
using Largest = std::size_t (*)(const std::int32_t* sums, std::size_t n);
// Of each of n_rows rows, `stride` sums apart, which of its first 16 sums are above their limits: a
// bit each.
using Above = void (*)(const std::int32_t* sums, std::size_t stride, std::size_t n_rows,
                       const std::int32_t* limits, std::uint16_t* masks);
// The tokens whose centroids have their bit in `wanted`, ascending, and the centroids; returns how
// many. Both have room for n_tokens + 16. `n_readable` tokens, at least n_tokens, may be read.
using Choose = std::size_t (*)(const Residuals& codec, const std::uint8_t* codes,
                               std::size_t n_tokens, std::size_t n_readable,
                               const std::uint64_t* wanted, std::uint32_t* tokens,
                               std::uint32_t* centroids);

// Rows of the scratch buffer are padded so that conversions may always store whole registers.
constexpr std::size_t scratch_stride(std::size_t dim) { return (dim + 63) / 64 * 64; }

// The bodies of one instruction set and the layouts they want.
struct InstructionSet {
    const char* name;
    std::size_t lanes;  // query vectors in one register
    std::size_t rows;   // query registers that one pass over a document serves
    std::size_t tile;   // document tokens that one pass holds in registers
    Body float32;
    Body float16;
    Body int8;
    std::size_t int8_step;     // dimensions in one product; 4: the query is int8, else int16
    std::int32_t int8_offset;  // added to document values to make them unsigned
    Body products;             // as int8, but every sum is stored and nothing is maximised
    Decode decode;             // see codec.h
    Encode encode;
    Largest largest;
    Above above;
    Choose choose;
};

// Those that this machine runs, the best first; the last is always "portable".
const std::vector<const InstructionSet*>& instruction_sets();

// By name, "" for the best. Throws std::invalid_argument where the machine does not run it.
const InstructionSet& instruction_set(const std::string& name);

struct Query {
    const float* values;  // (n_vectors, dim)
    std::size_t n_vectors;
    std::size_t dim;
};

enum class Type { float32, float16, int8 };

struct Documents {
    Type type;
    const void* values;   // (n_tokens, dim)
    const float* scales;  // (n_tokens) for int8, else null
    std::size_t n_tokens;
    const std::int64_t* offsets;  // (n_documents + 1)
    std::size_t n_documents;
};

// Scores the documents named by `selection` (all where it is null) into `scores`.
// Throws std::invalid_argument where an offset or a selected number is out of range: both may come
// from a damaged file. Each offset is read once, so a file that changes meanwhile cannot hurt.
void maxsim(const Query& query, const Documents& documents, const std::int64_t* selection,
            std::size_t n_selected, float* scores, std::size_t threads,
            const InstructionSet& instructions);

}  // namespace gingham
