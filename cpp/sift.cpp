// MaxSim of candidates: first with their tokens near the query, then of the best with all of them.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>

#include "parallel.h"
#include "prefetch.h"
#include "search.h"

namespace gingham {
namespace {

constexpr std::size_t kTokensAtOnce = 64;     // decoded rows stay in the first cache
// Tokens that are worth a thread, some 0.4 ms: few of those that are sifted are near and scored.
constexpr std::size_t kWorkOfThread = 1 << 14, kSiftingOfThread = 1 << 16;

struct Run {
    const std::uint8_t *codes, *residuals;
    std::size_t n_tokens, n_readable;  // its own, and with those of all later passages
};

// Where the candidates' tokens are, checked.
std::vector<Run> runs_of(const Residuals& codec, const std::vector<Segment>& segments,
                         const Candidate* candidates, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i)
        ask_for(segments[candidates[i].segment].offsets + candidates[i].passage, 1);
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
                   static_cast<std::size_t>(end - begin),
                   segment.n_tokens - static_cast<std::size_t>(begin)};
    }
    return runs;
}

// Scores runs one after the other, each with those of its tokens whose centroids have their bit in
// `wanted` (all where it is null). Codes are asked for some runs ahead, then residuals and centroids
// of the tokens that they name. One for each thread.
class Scorer {
public:
    Scorer(const std::vector<Run>& runs, std::size_t begin, std::size_t end,
           const std::uint64_t* wanted, const PackedQuery& query, const Residuals& codec,
           const InstructionSet& set)
        : runs_(runs), at_(begin), end_(end), wanted_(wanted), query_(query), codec_(codec),
          set_(set), best_((query.packed.width() + 15) / 16 * 16),
          scratch_(set.tile * scratch_stride(codec.dim)), scales_(kTokensAtOnce),
          rows_(kTokensAtOnce * codec.dim) {
        for (std::size_t i = begin; i < std::min(end, begin + kCodesAhead); ++i) ask_codes(i);
        for (std::size_t i = begin; i < std::min(end, begin + kRowsAhead); ++i) choose(i);
    }

    float next() {
        ask_codes(at_ + kCodesAhead);
        choose(at_ + kRowsAhead);
        const std::vector<std::uint32_t>& own = tokens_[at_ % kWindow];
        return score(runs_[at_++], own.data(), own.size());
    }

private:
    static constexpr std::size_t kCodesAhead = 16, kRowsAhead = 4, kWindow = kRowsAhead + 1;

    void ask_codes(std::size_t i) const {
        if (i < end_) ask_for(runs_[i].codes, runs_[i].n_tokens * kCodeBytes);
    }

    void choose(std::size_t i) {
        if (i >= end_) return;
        const Run& run = runs_[i];
        std::vector<std::uint32_t>& own = tokens_[i % kWindow];
        own.resize(run.n_tokens + 16);
        centroids_.resize(run.n_tokens + 16);
        std::size_t n = run.n_tokens;
        if (wanted_) {
            n = set_.choose(codec_, run.codes, n, run.n_readable, wanted_, own.data(),
                            centroids_.data());
        } else {
            for (std::size_t t = 0; t < n; ++t) {
                own[t] = static_cast<std::uint32_t>(t);
                centroids_[t] = centroid_of(run.codes + t * kCodeBytes, codec_.n_centroids);
            }
        }
        const std::size_t row_bytes = codec_.row_bytes();
        for (std::size_t t = 0; t < n; ++t) {
            ask_for(run.residuals + own[t] * row_bytes, row_bytes);
            if (codec_.bits != 8) ask_for(codec_.centroids + centroids_[t] * codec_.dim, codec_.dim);
        }
        own.resize(n);
    }

    // MaxSim with the listed tokens of a run.
    float score(const Run& run, const std::uint32_t* tokens, std::size_t n_tokens) {
        std::fill_n(best_.data(), query_.packed.width(), -std::numeric_limits<float>::infinity());
        if (n_tokens == 0) return -std::numeric_limits<float>::infinity();
        for (std::size_t from = 0; from < n_tokens; from += kTokensAtOnce) {
            const std::size_t count = std::min(kTokensAtOnce, n_tokens - from);
            set_.decode(codec_, run.codes, run.residuals, tokens + from, count, rows_.data(),
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

    const std::vector<Run>& runs_;
    std::size_t at_, end_;
    const std::uint64_t* wanted_;
    const PackedQuery& query_;
    const Residuals& codec_;
    const InstructionSet& set_;
    std::vector<std::uint32_t> tokens_[kWindow], centroids_;
    AlignedArray<float> best_, scratch_, scales_;
    AlignedArray<std::int8_t> rows_;
};

// For the first `n` runs.
std::size_t workers_for(const std::vector<Run>& runs, std::size_t n, std::size_t work_of_thread,
                        std::size_t threads) {
    std::size_t n_tokens = 0;
    for (std::size_t i = 0; i < n; ++i) n_tokens += runs[i].n_tokens;
    return std::max<std::size_t>(1, std::min(threads, n_tokens / work_of_thread + 1));
}

void score_runs(const std::vector<Run>& runs, std::size_t begin, std::size_t end,
                const std::uint64_t* wanted, const PackedQuery& query, const Residuals& codec,
                const InstructionSet& set, std::size_t workers, float* scores) {
    const std::size_t n = end - begin;
    const std::size_t chunk = std::max<std::size_t>(1, workers == 1 ? n : n / (workers * 8));
    parallel_chunks(n, chunk, workers, [&](std::size_t, std::size_t first, std::size_t last) {
        Scorer scorer(runs, begin + first, begin + last, wanted, query, codec, set);
        for (std::size_t i = first; i < last; ++i) scores[begin + i] = scorer.next();
    });
}

// When it is enough, see `sift`. Sums in double, in order: every machine stops at the same place.
class Margin {
public:
    Margin(std::size_t k, double margin, const std::vector<Candidate>& candidates)
        : k_(k), margin_(margin), candidates_(candidates) {}

    // Whether it is after the score of candidate `i`; they come in order.
    bool ends_after(std::size_t i, float score) {
        if (best_.size() < k_ || score > best_.front()) {
            if (best_.size() == k_) {
                std::pop_heap(best_.begin(), best_.end(), std::greater<>());
                best_.pop_back();
            }
            best_.push_back(score);
            std::push_heap(best_.begin(), best_.end(), std::greater<>());
        }
        if (i >= kLeftOut) {
            const double x = candidates_[i].total, y = score;
            n_ += 1, x_ += x, y_ += y, xx_ += x * x, xy_ += x * y, yy_ += y * y;
        }
        const std::size_t done = i + 1;
        if (done % kBetweenLooks != 0 || done < kLeastSifted || best_.size() < k_ ||
            done == candidates_.size())
            return false;
        const double spread = xx_ - x_ * x_ / n_, common = xy_ - x_ * y_ / n_;
        const double slope = spread > 0 ? common / spread : 0;
        const double rest = yy_ - y_ * y_ / n_ - slope * common;
        const double deviation = std::sqrt((rest > 0 ? rest : 0) / n_);
        const double expected = y_ / n_ + slope * (candidates_[done].total - x_ / n_);
        return best_.front() > expected + margin_ * deviation;
    }

private:
    std::size_t k_;
    double margin_;
    const std::vector<Candidate>& candidates_;
    std::vector<float> best_;
    double n_ = 0, x_ = 0, y_ = 0, xx_ = 0, xy_ = 0, yy_ = 0;
};

}  // namespace

Sifted sift(const PackedQuery& query, const Codebook& codebook,
            const std::vector<std::uint64_t>& near, const std::vector<Segment>& segments,
            std::vector<Candidate> candidates, std::size_t k, double margin, std::size_t n_kept,
            std::size_t threads, const InstructionSet& set) {
    std::size_t done = 0;
    if (candidates.size() > n_kept) {
        const Residuals& codec = codebook.residuals;
        const auto runs = runs_of(codec, segments, candidates.data(), candidates.size());
        const std::size_t n = runs.size();
        const std::size_t likely =
            std::isfinite(margin) ? std::min(n, std::max<std::size_t>(512, 3 * k)) : n;
        const std::size_t workers = workers_for(runs, likely, kSiftingOfThread, threads);
        std::vector<float> scores(n);
        Margin rule(k, margin, candidates);
        bool ends = false;
        if (workers == 1) {
            for (Scorer scorer(runs, 0, n, near.data(), query, codec, set); done < n && !ends; ++done)
                ends = rule.ends_after(done, scores[done] = scorer.next());
        } else {
            // More at once than may be needed, so that threads are worth their start.
            while (done < n && !ends) {
                const std::size_t end = std::min(n, done + likely);
                score_runs(runs, done, end, near.data(), query, codec, set, workers, scores.data());
                for (; done < end && !ends; ++done) ends = rule.ends_after(done, scores[done]);
            }
        }
        std::vector<std::uint32_t> order(done);
        for (std::size_t i = 0; i < done; ++i) order[i] = static_cast<std::uint32_t>(i);
        if (done > n_kept) {
            std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n_kept),
                             order.end(), [&](std::uint32_t a, std::uint32_t b) {
                                 return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
                             });
            order.resize(n_kept);
        }
        std::vector<Candidate> kept;
        kept.reserve(order.size());
        for (const std::uint32_t i : order) kept.push_back(candidates[i]);
        candidates = std::move(kept);
    }
    std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
        return a.segment != b.segment ? a.segment < b.segment : a.passage < b.passage;
    });
    return {std::move(candidates), done};
}

void refine(const PackedQuery& query, const Codebook& codebook,
            const std::vector<Segment>& segments, const Candidate* candidates, std::size_t n,
            float* scores, std::size_t threads, const InstructionSet& set) {
    const auto runs = runs_of(codebook.residuals, segments, candidates, n);
    const std::size_t workers = workers_for(runs, n, kWorkOfThread, threads);
    score_runs(runs, 0, n, nullptr, query, codebook.residuals, set, workers, scores);
}

}  // namespace gingham
