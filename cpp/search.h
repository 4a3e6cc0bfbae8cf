// The staged search of clustered segments, each stage over the whole query:
//     pool → probe → gather → sift → refine
// gingham/kernels/reference_search.py is the same in NumPy and says what each stage computes;
// PLAID (https://arxiv.org/abs/2205.09707) has the stages, WARP (https://arxiv.org/abs/2501.17788)
// the imputation, the two levels of centroids are ours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "codec.h"
#include "packed.h"

namespace gingham {

struct Codebook {
    Residuals residuals;
    const std::int8_t* supers;     // (n_supers, dim)
    const std::int64_t* children;  // (n_supers + 1) into the centroids
    std::size_t n_supers;
};

// Arrays may come from damaged files: whatever is read from them is checked where it is used.
struct Segment {
    const std::uint8_t* codes;      // (n_tokens, 3)
    const std::uint8_t* residuals;  // (n_tokens, row_bytes)
    std::size_t n_tokens;
    const std::int64_t* offsets;  // (n_passages + 1) into the tokens
    std::size_t n_passages;
    // Passages by centroid: list c is postings[lists[c] .. lists[c + 1]], runs of: high half of the
    // passage numbers, their count - 1, their low halves ascending.
    const std::int64_t* lists;  // (n_centroids + 1)
    const std::uint16_t* postings;
    std::size_t n_postings;
    const std::uint64_t* eligible;  // a bit a passage, or null for all
};

struct Probe {
    std::uint32_t centroid;
    std::int32_t product;
};

// A query in fewer vectors, for all stages but the last: of each 32 vectors in order the two that
// are most alike are summed, again and again, until 12 are left. MaxSim with a sum is nearly the sum of
// MaxSims where both choose the same token, as the many [MASK]s of a query do.
std::vector<float> pool(const Query& query);

// What is near, in 64ths: see Probed.
constexpr std::int64_t kFarther = 29;

struct Probed {
    // For each query vector its best `n_probes` + 1 centroids among the children of the best
    // `n_supers` super-centroids of all query vectors, best first (the lower number first where
    // equal). The last is what passages that none of the others lists are taken to have: it imputes,
    // it is not gathered. Where there are no more than `n_probes`, all are gathered and the worst is
    // repeated, to impute.
    std::vector<std::vector<Probe>> best;
    // A bit a centroid: those, of the same children, whose product with a query vector is at most
    // kFarther / 64 as far below the imputed as the best is above it.
    std::vector<std::uint64_t> near;
};

Probed probe(const PackedQuery& query, const Codebook& codebook, std::size_t n_supers,
             std::size_t n_probes, const InstructionSet& set);

struct Candidate {
    std::uint32_t segment, passage, total;
};

// Sums what probed centroids promise above the imputed, in steps of 1 / 65535 of the most there can
// be; the `n_candidates` eligible passages with the largest sums, in that order, the earlier where
// equal.
std::vector<Candidate> gather(const PackedQuery& query,
                              const std::vector<std::vector<Probe>>& probes,
                              const std::vector<Segment>& segments, std::size_t n_candidates);

struct Sifted {
    std::vector<Candidate> kept;
    std::size_t n_looked_at;
};

// Of the candidates the `n_kept` with the largest MaxSim over those of their tokens whose centroids
// are near (the first where equal), in the order of segments and passages; all of them, unscored,
// where there are no more. The other tokens are far from every query vector and seldom are a maximum.
//
// Candidates come best first. After each kBetweenLooks, from kLeastSifted on, a line through the
// scores and promises of all but the first kLeftOut says what to expect of the next. Once the k-th
// best score is `margin` standard deviations of what the line leaves above that, it is enough: the
// rest are given up.
constexpr std::size_t kLeftOut = 64, kLeastSifted = 192, kBetweenLooks = 64;
Sifted sift(const PackedQuery& query, const Codebook& codebook,
            const std::vector<std::uint64_t>& near, const std::vector<Segment>& segments,
            std::vector<Candidate> candidates, std::size_t k, double margin, std::size_t n_kept,
            std::size_t threads, const InstructionSet& set);

// MaxSim of decoded passages.
void refine(const PackedQuery& query, const Codebook& codebook,
            const std::vector<Segment>& segments, const Candidate* candidates, std::size_t n,
            float* scores, std::size_t threads, const InstructionSet& set);

}  // namespace gingham
