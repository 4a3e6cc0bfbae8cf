// Which passages the probed centroids name, and what they promise them.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "prefetch.h"
#include "search.h"

namespace gingham {
namespace {

constexpr std::size_t kBlockOfPassages = std::size_t{1} << 16;

// Passages' sums, kept from query to query so that nothing has to be cleared: a cell is the number
// of the query vector that last touched it (counted over all queries) above a sum of 16 bits.
struct Cells {
    std::vector<std::uint32_t> cells;
    std::uint32_t epoch = 0;
    std::vector<std::uint32_t> touched;
    std::vector<std::uint32_t> counts;

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

constexpr std::size_t kListsAhead = 12, kListStart = 192;  // bytes of a list that are asked for

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

std::vector<Candidate> gather(const PackedQuery& query,
                              const std::vector<std::vector<Probe>>& probes,
                              const std::vector<Segment>& segments, std::size_t n_candidates) {
    std::vector<std::uint32_t> bases, owners;
    for (std::size_t s = 0; s < segments.size(); ++s) {
        bases.push_back(static_cast<std::uint32_t>(owners.size() * kBlockOfPassages));
        owners.insert(owners.end(), blocks_of(segments[s]), static_cast<std::uint32_t>(s));
        for (const auto& list : probes)  // where a list lies is itself anywhere in a large table
            for (const Probe& one : list) ask_for(segments[s].lists + one.centroid, 1);
    }
    thread_local Cells own_cells;
    Cells& kept = own_cells;  // found once, not at every access
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
    kept.counts.assign(kBins, 0);
    std::size_t n_eligible = 0;
    for (std::size_t i = 0; i < n_touched; ++i) {
        const std::uint32_t position = kept.touched[i], owner = owners[position / kBlockOfPassages];
        if (!is_eligible(segments[owner], position - bases[owner])) continue;
        kept.touched[n_eligible++] = position;
        ++kept.counts[(kept.cells[position] & 0xffff) >> kBinShift];
    }
    // Largest sum first, the earlier where equal. Each bin has its place, so that only the few
    // within one are left to be sorted.
    std::size_t bin = kBins, above = 0;
    while (bin > 0 && above < n_candidates) {
        const std::uint32_t count = kept.counts[--bin];
        kept.counts[bin] = static_cast<std::uint32_t>(above);
        above += count;
    }
    std::vector<std::uint64_t> keys(above);
    const std::size_t least = bin << kBinShift;
    for (std::size_t i = 0; i < n_eligible; ++i) {
        const std::uint32_t position = kept.touched[i], total = kept.cells[position] & 0xffff;
        if (total >= least)
            keys[kept.counts[total >> kBinShift]++] =
                std::uint64_t{0xffff - total} << 32 | position;
    }
    const auto at = [&](std::size_t i) { return keys.begin() + static_cast<std::ptrdiff_t>(i); };
    for (std::size_t i = bin, end = above; i < kBins && end > 0; ++i) {
        const std::size_t begin = i + 1 < kBins ? kept.counts[i + 1] : 0;  // where the next one ends
        std::sort(at(begin), at(end));
        end = begin;
    }
    if (keys.size() > n_candidates) keys.resize(n_candidates);
    std::vector<Candidate> candidates;
    candidates.reserve(keys.size());
    for (const std::uint64_t key : keys) {
        const auto position = static_cast<std::uint32_t>(key);
        const std::uint32_t owner = owners[position / kBlockOfPassages];
        candidates.push_back(
            {owner, position - bases[owner], 0xffff - static_cast<std::uint32_t>(key >> 32)});
    }
    return candidates;
}

}  // namespace gingham
