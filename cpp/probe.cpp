// Which centroids are nearest to a query's vectors.
#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

#include "prefetch.h"
#include "search.h"

namespace gingham {
namespace {

// A centroid and its product in one number: the larger is the better, the lower centroid where
// products are equal.
std::uint64_t key_of(std::int32_t product, std::uint32_t centroid) {
    return std::uint64_t{static_cast<std::uint32_t>(product) ^ 0x80000000u} << 32 | ~centroid;
}

Probe probe_of(std::uint64_t key) {
    return {~static_cast<std::uint32_t>(key),
            static_cast<std::int32_t>(static_cast<std::uint32_t>(key >> 32) ^ 0x80000000u)};
}

using Keys = std::vector<std::uint64_t>;

// Limits of products stand in 16s; the vectors that are not there have one that none is above.
constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();
std::size_t limits_for(std::size_t n_vectors) { return (n_vectors + 15) / 16 * 16; }

void keep_best(Keys& keys, std::size_t n) {
    if (keys.size() <= n) return;
    std::nth_element(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(n), keys.end(),
                     std::greater<>());
    keys.resize(n);
}

// Products of rows with all query vectors. Kept from query to query: they may be megabytes.
struct Products {
    std::size_t width = 0;  // sums a row, at least as many as query vectors
    std::vector<std::int32_t> sums;
    std::vector<std::uint32_t> numbers;  // of each row its centroid
    std::vector<std::uint16_t> masks;
    std::vector<std::int32_t> sample;

    std::size_t n_rows() const { return numbers.size(); }

    // Into `masks`, which of the sums of 16 query vectors are above their limits.
    void compare(std::size_t first, const std::vector<std::int32_t>& limits,
                 const InstructionSet& set) {
        masks.resize(n_rows());
        set.above(sums.data() + first, width, n_rows(), limits.data() + first, masks.data());
    }

    // Of each query vector the best `keep` rows, in any order. A sample says above what product
    // they lie, with room to spare; then rows are compared with 16 such limits at once, and few
    // pass.
    std::vector<Keys> best(std::size_t n_vectors, std::size_t keep, const InstructionSet& set) {
        constexpr std::size_t kSample = 160;
        const std::size_t stride = std::max<std::size_t>(1, n_rows() / kSample);
        const std::size_t rank = (keep + keep / 2) / stride + 3;
        std::vector<std::int32_t> limits(limits_for(n_vectors), kNone);
        for (std::size_t i = 0; i < n_vectors; ++i) {
            sample.clear();
            for (std::size_t row = 0; row < n_rows(); row += stride)
                sample.push_back(sums[row * width + i]);
            limits[i] = std::numeric_limits<std::int32_t>::min();
            if (rank < sample.size()) {
                const auto at = sample.begin() + static_cast<std::ptrdiff_t>(rank);
                std::nth_element(sample.begin(), at, sample.end(), std::greater<>());
                limits[i] = *at - (*at > limits[i]);  // its equals pass too
            }
        }
        std::vector<Keys> found(n_vectors);
        for (Keys& keys : found) keys.reserve(2 * keep + 64);
        for (std::size_t first = 0; first < n_vectors; first += 16) {
            compare(first, limits, set);
            for (std::size_t row = 0; row < n_rows(); ++row)
                for (std::uint32_t mask = masks[row]; mask != 0; mask &= mask - 1) {
                    const std::size_t i = first + static_cast<std::size_t>(std::countr_zero(mask));
                    found[i].push_back(key_of(sums[row * width + i], numbers[row]));
                }
        }
        for (std::size_t i = 0; i < n_vectors; ++i) {
            if (found[i].size() < std::min(keep, n_rows())) {  // the sample was not like the rest
                found[i].clear();
                for (std::size_t row = 0; row < n_rows(); ++row)
                    found[i].push_back(key_of(sums[row * width + i], numbers[row]));
            }
            keep_best(found[i], keep);
        }
        return found;
    }
};

}  // namespace

Probed probe(const PackedQuery& query, const Codebook& codebook, std::size_t n_supers,
             std::size_t n_probes, const InstructionSet& set) {
    const std::size_t dim = query.dim;
    n_supers = std::min(n_supers, codebook.n_supers);
    n_probes = std::min(n_probes, codebook.residuals.n_centroids);
    AlignedArray<float> scratch(set.tile * scratch_stride(dim));
    thread_local Products kept;
    Products& all = kept;
    all.width = query.packed.width();
    all.numbers.clear();
    const auto multiply = [&](const std::int8_t* rows, std::size_t first, std::size_t last) {
        const std::size_t done = all.n_rows();
        for (std::size_t i = first; i < last; ++i)
            all.numbers.push_back(static_cast<std::uint32_t>(i));
        const std::size_t size = all.n_rows() * all.width + 16;  // the last 16 at once may reach beyond
        if (all.sums.size() < size) all.sums.resize(2 * size);
        products(set, query.packed, rows + first * dim, last - first, dim, scratch.data(),
                 all.sums.data() + done * all.width);
    };
    multiply(codebook.supers, 0, codebook.n_supers);
    std::vector<bool> is_chosen(codebook.n_supers);
    for (const Keys& keys : all.best(query.n_vectors, n_supers, set))
        for (const std::uint64_t key : keys) is_chosen[probe_of(key).centroid] = true;
    std::vector<std::size_t> chosen;
    for (std::size_t super = 0; super < codebook.n_supers; ++super)
        if (is_chosen[super]) chosen.push_back(super);

    all.numbers.clear();
    const std::int8_t* centroids = codebook.residuals.centroids;
    const auto first_child = [&](std::size_t super) {
        return static_cast<std::size_t>(codebook.children[super]);
    };
    for (std::size_t i = 0; i < chosen.size(); ++i) {
        if (i + 1 < chosen.size())
            ask_for(centroids + first_child(chosen[i + 1]) * dim, 2048);
        multiply(centroids, first_child(chosen[i]), first_child(chosen[i] + 1));
    }
    std::vector<Keys> best = all.best(query.n_vectors, n_probes + 1, set);
    Probed probed{std::vector<std::vector<Probe>>(query.n_vectors),
                  std::vector<std::uint64_t>(codebook.residuals.n_centroids / 64 + 1)};
    std::vector<std::int32_t> limits(limits_for(query.n_vectors), kNone);
    for (std::size_t i = 0; i < best.size(); ++i) {
        std::sort(best[i].begin(), best[i].end(), std::greater<>());
        for (const std::uint64_t key : best[i]) probed.best[i].push_back(probe_of(key));
        // All that there are: each is gathered, the worst imputes too.
        if (best[i].size() <= n_probes) probed.best[i].push_back(probe_of(best[i].back()));
        const std::int32_t imputed = probed.best[i].back().product;
        const std::int64_t spread = std::int64_t{probed.best[i].front().product} - imputed;
        limits[i] = static_cast<std::int32_t>(imputed - (spread * kFarther >> 6) - 1);
    }
    for (std::size_t first = 0; first < query.n_vectors; first += 16) {
        all.compare(first, limits, set);
        for (std::size_t row = 0; row < all.n_rows(); ++row)
            probed.near[all.numbers[row] / 64] |= std::uint64_t{all.masks[row] != 0}
                                                  << all.numbers[row] % 64;
    }
    return probed;
}

}  // namespace gingham
