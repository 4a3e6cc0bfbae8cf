#include "search.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>

#include "parallel.h"

namespace gingham {
namespace {

constexpr std::size_t kBlockOfPassages = std::size_t{1} << 16;
constexpr std::size_t kTokensAtOnce = 64;     // decoded rows stay in the first cache
constexpr std::size_t kWorkOfThread = 1 << 14;  // tokens that are worth a thread: some 0.3 ms

QuantizedQuery padded(const Query& query, std::size_t dim) {
    QuantizedQuery narrow = quantize(query);
    if (dim == query.dim) return narrow;
    std::vector<std::int8_t> codes(query.n_vectors * dim);
    for (std::size_t i = 0; i < query.n_vectors; ++i)
        std::copy_n(narrow.codes.data() + i * query.dim, query.dim, codes.data() + i * dim);
    return {std::move(narrow.scales), std::move(codes)};
}

bool better(const Probe& a, const Probe& b) {
    return a.product != b.product ? a.product > b.product : a.centroid < b.centroid;
}

// The best `keep` of each query vector's products, in any order. A sample of the rows says above what
// product the best lie, with room to spare; then a row is compared with all these limits at once,
// and few pass.
//
// `products` is (n_rows, width) with 16 more numbers behind it; row r is centroid numbers[r].
std::vector<std::vector<Probe>> best_of_each(const std::int32_t* products, std::size_t n_rows,
                                             std::size_t width,
                                             const std::vector<std::uint32_t>& numbers,
                                             std::size_t n_vectors, std::size_t keep,
                                             const InstructionSet& set) {
    constexpr std::size_t kSample = 160;
    const std::size_t stride = std::max<std::size_t>(1, n_rows / kSample);
    std::vector<std::int32_t> limits((width + 15) / 16 * 16,
                                     std::numeric_limits<std::int32_t>::max());
    std::vector<std::int32_t> sample;
    std::vector<std::vector<Probe>> found(n_vectors);
    for (std::size_t i = 0; i < n_vectors; ++i) {
        sample.clear();
        for (std::size_t row = 0; row < n_rows; row += stride)
            sample.push_back(products[row * width + i]);
        const std::size_t rank = (keep + keep / 2) / stride + 3;
        limits[i] = std::numeric_limits<std::int32_t>::min();
        if (rank < sample.size()) {
            const auto at = sample.begin() + static_cast<std::ptrdiff_t>(rank);
            std::nth_element(sample.begin(), at, sample.end(), std::greater<>());
            limits[i] = *at - (*at > limits[i]);  // its equals pass too
        }
        found[i].reserve(4 * keep + 64);
    }
    for (std::size_t row = 0; row < n_rows; ++row)
        for (std::size_t first = 0; first < limits.size(); first += 16) {
            const std::int32_t* sums = products + row * width + first;
            for (std::uint32_t mask = set.above(sums, limits.data() + first); mask != 0;
                 mask &= mask - 1) {
                const auto lane = static_cast<std::size_t>(std::countr_zero(mask));
                found[first + lane].push_back({numbers[row], sums[lane]});
            }
        }
    for (std::size_t i = 0; i < n_vectors; ++i) {
        const std::size_t n = std::min(keep, n_rows);
        if (found[i].size() < n) {  // the sample was not like the rest
            found[i].clear();
            for (std::size_t row = 0; row < n_rows; ++row)
                found[i].push_back({numbers[row], products[row * width + i]});
        }
        std::nth_element(found[i].begin(), found[i].begin() + static_cast<std::ptrdiff_t>(n - 1),
                         found[i].end(), better);
        found[i].resize(n);
    }
    return found;
}

// Passages' sums, kept from query to query so that nothing has to be cleared: a cell is the number
// of the query vector that last touched it (counted over all queries) above a sum of 16 bits.
struct Cells {
    std::vector<std::uint32_t> cells;
    std::uint32_t epoch = 0;
    std::vector<std::uint32_t> touched;

    void prepare(std::size_t size, std::size_t n_vectors) {
        if (cells.size() < size) {
            touched.resize(size + 1);  // first: no cell without its place here, should memory end
            cells.assign(size, 0);
            epoch = 0;
        }
        if (epoch + n_vectors >= 0xffff) {
            std::fill(cells.begin(), cells.end(), 0);
            epoch = 0;
        }
    }
};

std::size_t blocks_of(const Segment& segment) {
    return (segment.n_passages + kBlockOfPassages - 1) / kBlockOfPassages;
}

// One list of one segment into the cells. Only the high half of a number needs a check: the cells
// of a block are all there.
std::size_t add_list(const Segment& segment, std::uint32_t centroid, std::uint32_t gain,
                     std::uint32_t first_epoch, std::uint32_t epoch, std::uint32_t base,
                     std::uint32_t* GINGHAM_RESTRICT cells,
                     std::uint32_t* GINGHAM_RESTRICT touched, std::size_t n_touched) {
    const std::int64_t begin = segment.lists[centroid], end = segment.lists[centroid + 1];
    if (begin < 0 || begin > end || end > static_cast<std::int64_t>(segment.n_postings))
        throw std::invalid_argument("posting list " + std::to_string(centroid) + " is out of range");
    const std::uint16_t* at = segment.postings + begin;
    const std::uint16_t* const last = segment.postings + end;
    const std::size_t n_blocks = blocks_of(segment);
    while (last - at > 2) {
        const std::size_t block = at[0];
        const std::size_t count = std::size_t{at[1]} + 1;
        at += 2;
        if (block >= n_blocks || count > static_cast<std::size_t>(last - at))
            throw std::invalid_argument("posting list " + std::to_string(centroid) + " is damaged");
        const auto position = static_cast<std::uint32_t>(base + block * kBlockOfPassages);
        std::uint32_t* GINGHAM_RESTRICT const own = cells + position;
        const std::uint32_t stamp = epoch << 16;
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint32_t low = at[i];
            const std::uint32_t cell = own[low], seen = cell >> 16;
            const bool fresh = seen < first_epoch;
            const std::uint32_t total = fresh ? 0 : cell & 0xffff;
            touched[n_touched] = position + low;
            n_touched += fresh;
            own[low] = stamp | (total + (seen == epoch ? 0 : gain));
        }
        at += count;
    }
    return n_touched;
}

// Asks for what lies anywhere in gigabytes before it is needed: memory answers many such requests in
// the time of one.
inline void ask_for(const void* address, std::size_t n_bytes) {
#if defined(__GNUC__)
    const auto* byte = static_cast<const char*>(address);
    for (std::size_t i = 0; i < n_bytes; i += 64) __builtin_prefetch(byte + i);
#else
    (void)address, (void)n_bytes;
#endif
}

constexpr std::size_t kListsAhead = 6, kListStart = 192;  // bytes of a list that are asked for

// The list that query vector `i` will come to, counted on into the next vector's.
void ask_list(const std::vector<Segment>& segments, const std::vector<std::vector<Probe>>& probes,
              std::size_t i, std::size_t p) {
    while (i < probes.size() && p + 1 >= probes[i].size()) {
        p -= probes[i].empty() ? 0 : probes[i].size() - 1;
        ++i;
    }
    if (i == probes.size()) return;
    for (const Segment& segment : segments) {
        const std::int64_t begin = segment.lists[probes[i][p].centroid];
        if (begin >= 0 && begin < static_cast<std::int64_t>(segment.n_postings))
            ask_for(segment.postings + begin, kListStart);
    }
}

bool is_eligible(const Segment& segment, std::uint32_t passage) {
    return passage < segment.n_passages &&
           (!segment.eligible || (segment.eligible[passage / 64] >> passage % 64 & 1) != 0);
}

}  // namespace

PackedQuery::PackedQuery(const Query& query, std::size_t dim_, const InstructionSet& set)
    : quantized(padded(query, dim_)), packed(set, quantized.codes.data(), query.n_vectors, dim_),
      n_vectors(query.n_vectors), dim(dim_) {}

std::vector<float> pool(const Query& query) {
    constexpr std::size_t kTogether = 32, kLeft = 16;
    const std::size_t dim = query.dim;
    float largest = 0;
    for (std::size_t i = 0; i < query.n_vectors * dim; ++i)
        largest = std::max(largest, std::fabs(query.values[i]));
    const float step = largest / 127.0f;
    std::vector<float> pooled;
    for (std::size_t from = 0; from < query.n_vectors; from += kTogether) {
        const std::size_t n = std::min(kTogether, query.n_vectors - from);
        if (n <= kLeft || step == 0) {
            pooled.insert(pooled.end(), query.values + from * dim, query.values + (from + n) * dim);
            continue;
        }
        // Whole numbers, so that every machine joins the same vectors.
        // 32 sums of 127 stay below 2^12, so 128 of their products stay below 2^31.
        std::vector<std::int16_t> sums(n * dim);
        for (std::size_t i = 0; i < n * dim; ++i)
            sums[i] = static_cast<std::int16_t>(std::nearbyintf(query.values[from * dim + i] / step));
        std::vector<std::int32_t> weights(n, 1);
        std::vector<bool> joined(n);
        std::vector<double> costs(n * n, 0), squares(n);
        const auto product = [&](std::size_t i, std::size_t j) {
            std::int64_t sum = 0;
            const std::int16_t *a = sums.data() + i * dim, *b = sums.data() + j * dim;
            for (std::size_t k = 0; k < dim; k += 128) {
                std::int32_t part = 0;
                const std::size_t last = std::min(dim, k + 128);
                for (std::size_t d = k; d < last; ++d) part += std::int32_t{a[d]} * b[d];
                sum += part;
            }
            return static_cast<double>(sum);
        };
        const auto cost = [&](std::size_t i, std::size_t j) {
            if (squares[i] == 0 || squares[j] == 0) return 0.0;
            return (1 - product(i, j) / std::sqrt(squares[i] * squares[j])) *
                   std::min(weights[i], weights[j]);
        };
        for (std::size_t i = 0; i < n; ++i) squares[i] = product(i, i);
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t j = i + 1; j < n; ++j) costs[i * n + j] = cost(i, j);
        for (std::size_t left = n; left > kLeft; --left) {
            std::size_t a = n, b = n;
            for (std::size_t i = 0; i < n; ++i) {
                if (joined[i]) continue;
                for (std::size_t j = i + 1; j < n; ++j)
                    if (!joined[j] && (a == n || costs[i * n + j] < costs[a * n + b])) a = i, b = j;
            }
            for (std::size_t k = 0; k < dim; ++k)
                sums[a * dim + k] = static_cast<std::int16_t>(sums[a * dim + k] + sums[b * dim + k]);
            weights[a] += weights[b];
            joined[b] = true;
            squares[a] = product(a, a);
            for (std::size_t i = 0; i < n; ++i)
                if (!joined[i] && i != a) costs[std::min(i, a) * n + std::max(i, a)] = cost(i, a);
        }
        for (std::size_t i = 0; i < n; ++i) {
            if (joined[i]) continue;
            for (std::size_t k = 0; k < dim; ++k)
                pooled.push_back(static_cast<float>(sums[i * dim + k]) * step);
        }
    }
    return pooled;
}

Probed probe(const PackedQuery& query, const Codebook& codebook, std::size_t n_supers,
             std::size_t n_probes, const InstructionSet& set) {
    const std::size_t dim = query.dim, width = query.packed.width();
    n_supers = std::min(n_supers, codebook.n_supers);
    n_probes = std::min(n_probes, codebook.residuals.n_centroids);
    AlignedArray<float> scratch(set.tile * scratch_stride(dim));
    // Kept from query to query: it may be megabytes.
    thread_local std::vector<std::int32_t> kept_sums;
    std::vector<std::int32_t>& sums = kept_sums;
    std::vector<std::uint32_t> numbers;
    const auto multiply = [&](const std::int8_t* rows, std::size_t first, std::size_t last) {
        const std::size_t done = numbers.size();
        for (std::size_t i = first; i < last; ++i) numbers.push_back(static_cast<std::uint32_t>(i));
        if (sums.size() < numbers.size() * width + 16) sums.resize(2 * numbers.size() * width + 16);
        products(set, query.packed, rows + first * dim, last - first, dim, scratch.data(),
                 sums.data() + done * width);
    };
    const auto best = [&](std::size_t keep) {
        return best_of_each(sums.data(), numbers.size(), width, numbers, query.n_vectors, keep, set);
    };
    multiply(codebook.supers, 0, codebook.n_supers);
    std::vector<bool> chosen(codebook.n_supers);
    for (const auto& list : best(n_supers))
        for (const Probe& super : list) chosen[super.centroid] = true;

    numbers.clear();
    for (std::size_t super = 0; super < codebook.n_supers; ++super)
        if (chosen[super])
            multiply(codebook.residuals.centroids,
                     static_cast<std::size_t>(codebook.children[super]),
                     static_cast<std::size_t>(codebook.children[super + 1]));
    Probed probed{best(kNearer * n_probes + 1), {}};
    probed.near.resize(codebook.residuals.n_centroids / 64 + 1);
    for (auto& list : probed.best) {
        for (const Probe& one : list)
            probed.near[one.centroid / 64] |= std::uint64_t{1} << one.centroid % 64;
        const auto last =
            list.begin() + static_cast<std::ptrdiff_t>(std::min(n_probes + 1, list.size()));
        std::partial_sort(list.begin(), last, list.end(), better);
        list.erase(last, list.end());
        // All that there are: each is gathered, the worst imputes too.
        if (list.size() <= n_probes) list.push_back(list.back());
    }
    return probed;
}

std::vector<Candidate> gather(const PackedQuery& query,
                              const std::vector<std::vector<Probe>>& probes,
                              const std::vector<Segment>& segments, std::size_t n_candidates) {
    std::vector<std::uint32_t> bases, owners;
    for (std::size_t s = 0; s < segments.size(); ++s) {
        bases.push_back(static_cast<std::uint32_t>(owners.size() * kBlockOfPassages));
        owners.insert(owners.end(), blocks_of(segments[s]), static_cast<std::uint32_t>(s));
    }
    thread_local Cells kept;
    kept.prepare(owners.size() * kBlockOfPassages, query.n_vectors);

    // In double: sums of floats would err by more than 1 / 10000 for long queries.
    double most = 0;
    for (std::size_t i = 0; i < query.n_vectors; ++i)
        if (!probes[i].empty())
            most += double{query.quantized.scales[i]} *
                    (probes[i].front().product - probes[i].back().product);
    const double steps = most > 0 ? 65535.0 / most : 0.0;

    const std::uint32_t first_epoch = kept.epoch + 1;
    std::size_t n_touched = 0;
    try {
        for (std::size_t i = 0; i < query.n_vectors; ++i) {
            ++kept.epoch;
            for (std::size_t p = 0; p + 1 < probes[i].size(); ++p) {
                const std::int32_t above = probes[i][p].product - probes[i].back().product;
                // Each is rounded down, so that their sum stays within 16 bits.
                const auto gain = static_cast<std::uint32_t>(
                    double{query.quantized.scales[i]} * above * steps * 0.9999);
                ask_list(segments, probes, i, p + kListsAhead);
                for (std::size_t s = 0; s < segments.size(); ++s)
                    n_touched = add_list(segments[s], probes[i][p].centroid, gain, first_epoch,
                                         kept.epoch, bases[s], kept.cells.data(),
                                         kept.touched.data(), n_touched);
            }
        }
    } catch (...) {
        kept.cells.clear();  // whatever a damaged list left there
        throw;
    }

    // The sum below which nothing is kept, by counting.
    constexpr std::size_t kBins = 2048, kBinShift = 5;
    std::vector<std::uint32_t> counts(kBins);
    std::size_t n_eligible = 0;
    for (std::size_t i = 0; i < n_touched; ++i) {
        const std::uint32_t position = kept.touched[i], owner = owners[position / kBlockOfPassages];
        if (!is_eligible(segments[owner], position - bases[owner])) continue;
        kept.touched[n_eligible++] = position;
        ++counts[(kept.cells[position] & 0xffff) >> kBinShift];
    }
    std::size_t bin = kBins, above = 0;
    while (bin > 0 && above < n_candidates) above += counts[--bin];
    // Largest sum first, the earlier where equal.
    std::vector<std::uint64_t> keys(above);
    std::size_t n_keys = 0;
    for (std::size_t i = 0; i < n_eligible; ++i) {
        const std::uint32_t position = kept.touched[i], total = kept.cells[position] & 0xffff;
        if (total >> kBinShift >= bin)
            keys[n_keys++] = std::uint64_t{0xffff - total} << 32 | position;
    }
    if (keys.size() > n_candidates) {
        std::nth_element(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(n_candidates),
                         keys.end());
        keys.resize(n_candidates);
    }
    for (std::uint64_t& key : keys) key = key << 32 | (0xffff - (key >> 32));
    std::sort(keys.begin(), keys.end());
    std::vector<Candidate> candidates;
    candidates.reserve(keys.size());
    for (const std::uint64_t key : keys) {
        const auto position = static_cast<std::uint32_t>(key >> 32);
        const std::uint32_t owner = owners[position / kBlockOfPassages];
        candidates.push_back(
            {owner, position - bases[owner], static_cast<std::uint32_t>(key & 0xffff)});
    }
    return candidates;
}

namespace {

struct Run {
    const std::uint8_t *codes, *residuals;
    std::size_t n_tokens;
};

// Where the candidates' tokens are, checked.
std::vector<Run> runs_of(const Residuals& codec, const std::vector<Segment>& segments,
                         const Candidate* candidates, std::size_t n) {
    std::vector<Run> runs(n);
    for (std::size_t i = 0; i < n; ++i) {
        const Segment& segment = segments[candidates[i].segment];
        const std::size_t passage = candidates[i].passage;
        if (passage >= segment.n_passages)
            throw std::invalid_argument("selection holds passage " + std::to_string(passage) +
                                        "; there are " + std::to_string(segment.n_passages));
        const std::int64_t begin = segment.offsets[passage], end = segment.offsets[passage + 1];
        if (begin < 0 || begin > end || end > static_cast<std::int64_t>(segment.n_tokens))
            throw std::invalid_argument("offsets give passage " + std::to_string(passage) +
                                        " the rows " + std::to_string(begin) + ":" +
                                        std::to_string(end) + " of " +
                                        std::to_string(segment.n_tokens));
        runs[i] = {segment.codes + static_cast<std::size_t>(begin) * kCodeBytes,
                   segment.residuals + static_cast<std::size_t>(begin) * codec.row_bytes(),
                   static_cast<std::size_t>(end - begin)};
    }
    return runs;
}

// Decodes and scores; one for each thread.
class Scorer {
public:
    Scorer(const PackedQuery& query, const Residuals& codec, const InstructionSet& set)
        : query_(query), codec_(codec), set_(set), best_((query.packed.width() + 15) / 16 * 16),
          scratch_(set.tile * scratch_stride(codec.dim)), scales_(kTokensAtOnce),
          rows_(kTokensAtOnce * codec.dim) {}

    // MaxSim with those tokens of a run that `picks` lists.
    float operator()(const Run& run, const std::uint32_t* picks, std::size_t n_tokens) {
        std::fill_n(best_.data(), query_.packed.width(), -std::numeric_limits<float>::infinity());
        if (n_tokens == 0) return -std::numeric_limits<float>::infinity();
        for (std::size_t from = 0; from < n_tokens; from += kTokensAtOnce) {
            const std::size_t count = std::min(kTokensAtOnce, n_tokens - from);
            set_.decode(codec_, run.codes, run.residuals, picks + from, count, rows_.data(),
                        scales_.data());
            Work work{};
            work.query = query_.packed.values();
            work.bias = query_.packed.bias();
            work.registers = query_.packed.registers();
            work.dim = codec_.dim;
            work.values = rows_.data();
            work.scales = scales_.data();
            work.n_tokens = count;
            work.next = rows_.data();
            work.scratch = scratch_.data();
            work.best = best_.data();
            set_.int8(work);
        }
        float score = 0;
        for (std::size_t j = 0; j < query_.n_vectors; ++j)
            score += query_.quantized.scales[j] * best_[j];
        return score;
    }

private:
    const PackedQuery& query_;
    const Residuals& codec_;
    const InstructionSet& set_;
    AlignedArray<float> best_, scratch_, scales_;
    AlignedArray<std::int8_t> rows_;
};

// Scores the runs `begin` to `end`, each with those of its tokens whose centroids have their bit
// in `wanted` (all where it is null). Codes are asked for some runs ahead, then residuals and
// centroids of the tokens that they name.
void score_runs(const std::vector<Run>& runs, std::size_t begin, std::size_t end,
                const std::uint64_t* wanted, const PackedQuery& query, const Residuals& codec,
                const InstructionSet& set, float* scores) {
    constexpr std::size_t kCodesAhead = 16, kRowsAhead = 4, kWindow = kRowsAhead + 1;
    const std::size_t row_bytes = codec.row_bytes();
    Scorer score(query, codec, set);
    std::vector<std::uint32_t> picks[kWindow], numbers;
    const bool has_centroids = codec.bits != 8;
    const auto ask_codes = [&](std::size_t i) {
        if (i < end) ask_for(runs[i].codes, runs[i].n_tokens * kCodeBytes);
    };
    const auto pick = [&](std::size_t i) {
        if (i >= end) return;
        const Run& run = runs[i];
        std::vector<std::uint32_t>& own = picks[i % kWindow];
        own.resize(run.n_tokens);
        numbers.resize(run.n_tokens);
        // Without a branch: which tokens are wanted cannot be guessed.
        std::size_t n = 0;
        for (std::size_t t = 0; t < run.n_tokens; ++t) {
            const std::uint32_t centroid =
                centroid_of(run.codes + t * kCodeBytes, codec.n_centroids);
            own[n] = static_cast<std::uint32_t>(t);
            numbers[n] = centroid;
            n += wanted ? wanted[centroid / 64] >> centroid % 64 & 1 : 1;
        }
        for (std::size_t i_kept = 0; i_kept < n; ++i_kept) {
            ask_for(run.residuals + own[i_kept] * row_bytes, row_bytes);
            if (has_centroids) ask_for(codec.centroids + numbers[i_kept] * codec.dim, codec.dim);
        }
        own.resize(n);
    };
    for (std::size_t i = begin; i < std::min(end, begin + kCodesAhead); ++i) ask_codes(i);
    for (std::size_t i = begin; i < std::min(end, begin + kRowsAhead); ++i) pick(i);
    for (std::size_t i = begin; i < end; ++i) {
        ask_codes(i + kCodesAhead);
        pick(i + kRowsAhead);
        const std::vector<std::uint32_t>& own = picks[i % kWindow];
        scores[i] = score(runs[i], own.data(), own.size());
    }
}

// Candidates are shared out where there is work for more than one thread.
template <class Function>
void for_all(const std::vector<Run>& runs, std::size_t threads, const Function& work) {
    std::size_t n_tokens = 0;
    for (const Run& run : runs) n_tokens += run.n_tokens;
    const std::size_t workers =
        std::max<std::size_t>(1, std::min(threads, n_tokens / kWorkOfThread + 1));
    const std::size_t chunk = workers == 1 ? std::max<std::size_t>(1, runs.size())
                                           : std::max<std::size_t>(1, runs.size() / (workers * 8));
    parallel_chunks(runs.size(), chunk, workers,
                    [&](std::size_t, std::size_t begin, std::size_t end) { work(begin, end); });
}

}  // namespace

std::vector<Candidate> sift(const PackedQuery& query, const Codebook& codebook,
                            const std::vector<std::uint64_t>& near,
                            const std::vector<Segment>& segments,
                            std::vector<Candidate> candidates, std::size_t n_kept,
                            std::size_t threads, const InstructionSet& set) {
    if (candidates.size() <= n_kept) return candidates;
    const Residuals& codec = codebook.residuals;
    const auto runs = runs_of(codec, segments, candidates.data(), candidates.size());
    std::vector<float> scores(runs.size());
    for_all(runs, threads, [&](std::size_t begin, std::size_t end) {
        score_runs(runs, begin, end, near.data(), query, codec, set, scores.data());
    });
    std::vector<std::uint32_t> order(runs.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n_kept), order.end(),
                     [&](std::uint32_t a, std::uint32_t b) {
                         return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
                     });
    order.resize(n_kept);
    std::sort(order.begin(), order.end());
    std::vector<Candidate> kept;
    for (const std::uint32_t i : order) kept.push_back(candidates[i]);
    return kept;
}

void refine(const PackedQuery& query, const Codebook& codebook,
            const std::vector<Segment>& segments, const Candidate* candidates, std::size_t n,
            float* scores, std::size_t threads, const InstructionSet& set) {
    const auto runs = runs_of(codebook.residuals, segments, candidates, n);
    for_all(runs, threads, [&](std::size_t begin, std::size_t end) {
        score_runs(runs, begin, end, nullptr, query, codebook.residuals, set, scores);
    });
}

}  // namespace gingham
