// Python's face of the codec and of the staged search: typed arrays in, checked, the GIL released.
#include "bindings.h"

#include <chrono>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "search.h"

namespace gingham {
namespace {

using Bytes2 = Array<const std::uint8_t, 2>;
using Signed2 = Array<const std::int8_t, 2>;
using Points = Array<const std::int8_t, 3>;
using Numbers = Array<const std::int64_t, 1>;
using Floats2 = Array<const float, 2>;

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

// Ascending from 0 to `last`: what children and groups must be, or rows would be read beyond.
void check_ranges(const Numbers& numbers, std::size_t last, const char* what) {
    require(numbers.shape(0) > 0 && numbers.data()[0] == 0, what);
    for (std::size_t i = 0; i + 1 < numbers.shape(0); ++i)
        require(numbers.data()[i] < numbers.data()[i + 1], what);
    require(numbers.data()[numbers.shape(0) - 1] == static_cast<std::int64_t>(last), what);
}

Residuals residuals(const Signed2& centroids, const Points& points, const Numbers& levels,
                    std::size_t bits, std::size_t source, float scale) {
    const std::size_t dim = centroids.shape(1);
    require(bits == 1 || bits == 2 || bits == 4 || bits == 8, "bits must be 1, 2, 4 or 8");
    require(dim > 0 && dim <= kMaxRow && dim * bits / 8 % 16 == 0 && source <= dim && source > 0,
            "rows must be padded to whole 16-byte groups of residuals");
    require(centroids.shape(0) > 0 && centroids.shape(0) <= kMaxCentroids,
            "there must be 1 to 2^20 centroids");
    require(levels.shape(0) == kLevels - 1, "there must be 15 levels");
    require(bits == 8 || (points.shape(0) == kLevels && points.shape(1) == 4 / bits &&
                          points.shape(2) == kPoints),
            "points must be (16, 4 / bits, 16)");
    return {dim,           source, bits, scale, centroids.data(), centroids.shape(0), points.data(),
            levels.data()};
}

// A codebook with its arrays, which Python keeps alive.
class NativeCodebook {
public:
    NativeCodebook(Signed2 supers, Numbers children, Signed2 centroids, Points points,
                   Numbers levels, std::size_t bits, std::size_t source, float scale)
        : supers_(supers), children_(children), centroids_(centroids), points_(points),
          levels_(levels),
          codebook_{residuals(centroids, points, levels, bits, source, scale), supers.data(),
                    children.data(), supers.shape(0)} {
        require(supers.shape(0) > 0 && supers.shape(1) == centroids.shape(1),
                "supers and centroids differ in dimension");
        require(children.shape(0) == supers.shape(0) + 1, "children: one more than supers");
        check_ranges(children, centroids.shape(0), "children must ascend over all centroids");
    }
    const Codebook& get() const { return codebook_; }

private:
    Signed2 supers_;
    Numbers children_;
    Signed2 centroids_;
    Points points_;
    Numbers levels_;
    Codebook codebook_;
};

class NativeSegment {
public:
    NativeSegment(const NativeCodebook& codebook, Bytes2 codes, Bytes2 residuals, Numbers offsets,
                  Numbers lists, Array<const std::uint16_t, 1> postings)
        : codebook_(&codebook), codes_(codes), residuals_(residuals), offsets_(offsets),
          lists_(lists), postings_(postings),
          segment_{codes.data(),        residuals.data(), codes.shape(0),
                   offsets.data(),      0,                lists.data(),
                   postings.data(),     postings.shape(0), nullptr} {
        const Residuals& codec = codebook.get().residuals;
        require(codes.shape(1) == kCodeBytes, "codes: three bytes a token");
        require(residuals.shape(0) == codes.shape(0) && residuals.shape(1) == codec.row_bytes(),
                "residuals do not fit the codes or the codebook");
        require(offsets.shape(0) > 0, "offsets must hold at least one number");
        require(lists.shape(0) == codec.n_centroids + 1, "lists: one more than centroids");
        segment_.n_passages = offsets.shape(0) - 1;
        require(segment_.n_passages < (std::size_t{1} << 31), "too many passages");
    }
    const Segment& get() const { return segment_; }
    bool is_of(const NativeCodebook& codebook) const { return codebook_ == &codebook; }

private:
    const NativeCodebook* codebook_;
    Bytes2 codes_, residuals_;
    Numbers offsets_, lists_;
    Array<const std::uint16_t, 1> postings_;
    Segment segment_;
};

using Bitmaps = std::vector<std::optional<Array<const std::uint64_t, 1>>>;

std::vector<Segment> views(const NativeCodebook& codebook,
                           const std::vector<const NativeSegment*>& segments,
                           const Bitmaps& eligible) {
    require(eligible.size() == segments.size(), "eligible: one a segment");
    std::vector<Segment> result;
    std::size_t n_blocks = 0;
    for (std::size_t i = 0; i < segments.size(); ++i) {
        require(segments[i]->is_of(codebook), "a segment is of another codebook");
        Segment segment = segments[i]->get();
        n_blocks += segment.n_passages / 65536 + 1;
        if (eligible[i]) {
            require(eligible[i]->shape(0) * 64 >= segment.n_passages, "eligible: a bit a passage");
            segment.eligible = eligible[i]->data();
        }
        result.push_back(segment);
    }
    require(n_blocks < 65536, "too many passages");
    return result;
}

PackedQuery packed(const Floats2& query, const Codebook& codebook, const InstructionSet& set) {
    require(query.shape(1) == codebook.residuals.source, "query and codebook differ in dimension");
    require(query.shape(0) > 0 && query.shape(0) < 60000, "a query has 1 to 60000 vectors");
    return {{query.data(), query.shape(0), query.shape(1)}, codebook.residuals.dim, set};
}

template <class T>
nb::ndarray<nb::numpy, T> owned(std::vector<T>&& values, std::initializer_list<std::size_t> shape) {
    auto* kept = new std::vector<T>(std::move(values));
    nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nb::ndarray<nb::numpy, T>(kept->data(), shape, owner);
}

PackedQuery pooled(const Floats2& query, const Codebook& codebook, const InstructionSet& set) {
    const std::vector<float> values = pool({query.data(), query.shape(0), query.shape(1)});
    return {{values.data(), values.size() / query.shape(1), query.shape(1)},
            codebook.residuals.dim, set};
}

auto pool_array(const Floats2& query) {
    std::vector<float> values = pool({query.data(), query.shape(0), query.shape(1)});
    const std::size_t n = values.size() / query.shape(1);
    return owned(std::move(values), {n, query.shape(1)});
}

std::vector<Candidate> listed(const Array<const std::uint32_t, 2>& candidates,
                              std::size_t n_segments) {
    require(candidates.shape(1) == 2, "candidates: a segment and a passage each");
    std::vector<Candidate> result;
    for (std::size_t i = 0; i < candidates.shape(0); ++i) {
        const std::uint32_t* pair = candidates.data() + 2 * i;
        require(pair[0] < n_segments, "candidates name a segment that is not there");
        result.push_back({pair[0], pair[1], 0});
    }
    return result;
}

auto probe_arrays(const Floats2& query, const NativeCodebook& codebook, std::size_t n_supers,
                  std::size_t n_probes, const std::string& instructions) {
    const InstructionSet& set = instruction_set(instructions);
    const auto found =
        probe(packed(query, codebook.get(), set), codebook.get(), n_supers, n_probes, set).best;
    std::vector<std::int64_t> centroids, products;
    for (const auto& list : found)
        for (const Probe& one : list) {
            centroids.push_back(one.centroid);
            products.push_back(one.product);
        }
    const std::size_t each = found.front().size();
    return std::make_tuple(owned(std::move(centroids), {found.size(), each}),
                           owned(std::move(products), {found.size(), each}));
}

// Scores, segments and passages of the refined candidates; for whoever wonders where the time goes,
// the seconds of each stage and how many candidates were sifted.
auto search(const Floats2& query, const NativeCodebook& codebook,
            const std::vector<const NativeSegment*>& segments, const Bitmaps& eligible,
            std::size_t n_supers, std::size_t n_probes, std::size_t n_candidates, std::size_t k,
            double margin, std::size_t n_refined, std::size_t threads,
            const std::string& instructions) {
    require(n_supers > 0 && n_probes > 0 && n_candidates > 0 && k > 0 && n_refined > 0,
            "parameters must be at least 1");
    require(margin > 0, "margin must be above 0");
    const InstructionSet& set = instruction_set(instructions);
    const Codebook& book = codebook.get();
    const std::vector<Segment> open = views(codebook, segments, eligible);
    std::vector<float> scores;
    std::vector<std::int64_t> places, passages;
    std::vector<double> seconds;
    std::size_t n_sifted = 0;
    {
        const nb::gil_scoped_release released;
        auto last = std::chrono::steady_clock::now();
        const auto stage_ends = [&] {
            const auto now = std::chrono::steady_clock::now();
            seconds.push_back(std::chrono::duration<double>(now - last).count());
            last = now;
        };
        const PackedQuery of = packed(query, book, set);
        const PackedQuery few = pooled(query, book, set);
        stage_ends();
        const Probed probed = probe(few, book, n_supers, n_probes, set);
        stage_ends();
        std::vector<Candidate> candidates = gather(few, probed.best, open, n_candidates);
        stage_ends();
        const Sifted sifted = sift(few, book, probed.near, open, std::move(candidates), k, margin,
                                   n_refined, threads, set);
        n_sifted = sifted.n_looked_at;
        stage_ends();
        scores.resize(sifted.kept.size());
        refine(of, book, open, sifted.kept.data(), sifted.kept.size(), scores.data(), threads, set);
        for (const Candidate& candidate : sifted.kept) {
            places.push_back(candidate.segment);
            passages.push_back(candidate.passage);
        }
        stage_ends();
    }
    const std::size_t n = scores.size();
    return std::make_tuple(owned(std::move(scores), {n}), owned(std::move(places), {n}),
                           owned(std::move(passages), {n}), std::move(seconds), n_sifted);
}

auto gather_arrays(const Floats2& query, const NativeCodebook& codebook,
                   const std::vector<const NativeSegment*>& segments, const Bitmaps& eligible,
                   std::size_t n_supers, std::size_t n_probes, std::size_t n_candidates,
                   const std::string& instructions) {
    const InstructionSet& set = instruction_set(instructions);
    const PackedQuery of = packed(query, codebook.get(), set);
    const auto candidates =
        gather(of, probe(of, codebook.get(), n_supers, n_probes, set).best,
               views(codebook, segments, eligible), n_candidates);
    std::vector<std::int64_t> rows;
    for (const Candidate& candidate : candidates) {
        rows.push_back(candidate.segment);
        rows.push_back(candidate.passage);
        rows.push_back(candidate.total);
    }
    return owned(std::move(rows), {candidates.size(), std::size_t{3}});
}

void score_listed(const Floats2& query, const NativeCodebook& codebook,
                  const std::vector<const NativeSegment*>& segments,
                  const Array<const std::uint32_t, 2>& candidates, const Array<float, 1>& scores,
                  std::size_t threads, const std::string& instructions) {
    require(scores.shape(0) == candidates.shape(0), "scores have the wrong length");
    const InstructionSet& set = instruction_set(instructions);
    const std::vector<Segment> open = views(codebook, segments, Bitmaps(segments.size()));
    const auto list = listed(candidates, open.size());
    const nb::gil_scoped_release released;
    refine(packed(query, codebook.get(), set), codebook.get(), open, list.data(), list.size(),
           scores.data(), threads, set);
}

void quantize_into(const Floats2& values, float scale, const Array<std::int8_t, 2>& rows,
                   std::size_t threads) {
    require(rows.shape(0) == values.shape(0) && rows.shape(1) >= values.shape(1),
            "rows do not fit the values");
    const nb::gil_scoped_release released;
    quantize_rows(values.data(), values.shape(0), values.shape(1), rows.shape(1), scale,
                  rows.data(), threads);
}

void nearest_into(const Signed2& rows, const Array<const std::uint32_t, 1>& parents,
                  const Signed2& centroids, const Numbers& children,
                  const Array<std::uint32_t, 1>& nearest, std::size_t threads,
                  const std::string& instructions) {
    const InstructionSet& set = instruction_set(instructions);
    require(rows.shape(1) == centroids.shape(1), "rows and centroids differ in dimension");
    require(parents.shape(0) == rows.shape(0) && nearest.shape(0) == rows.shape(0),
            "one parent and one place a row");
    check_ranges(children, centroids.shape(0), "children must ascend over all centroids");
    const std::size_t n_parents = children.shape(0) - 1;
    for (std::size_t i = 0; i < parents.shape(0); ++i)
        require(parents.data()[i] < n_parents, "a parent is out of range");
    const nb::gil_scoped_release released;
    nearest_child(rows.data(), parents.data(), rows.shape(0), rows.shape(1), centroids.data(),
                  children.data(), n_parents, nearest.data(), threads, set);
}

void kmeans_into(const Signed2& rows, const Numbers& groups, const Numbers& children,
                 std::size_t iterations, const Array<std::int8_t, 2>& centroids,
                 std::size_t threads, const std::string& instructions) {
    const InstructionSet& set = instruction_set(instructions);
    require(rows.shape(1) == centroids.shape(1), "rows and centroids differ in dimension");
    require(groups.shape(0) == children.shape(0), "groups and children differ in number");
    check_ranges(groups, rows.shape(0), "groups must ascend over all rows");
    check_ranges(children, centroids.shape(0), "children must ascend over all centroids");
    for (std::size_t i = 0; i + 1 < groups.shape(0); ++i)
        require(groups.data()[i + 1] - groups.data()[i] >=
                    children.data()[i + 1] - children.data()[i],
                "a group has fewer rows than centroids");
    const nb::gil_scoped_release released;
    kmeans(rows.data(), groups.data(), groups.shape(0) - 1, rows.shape(1), children.data(),
           iterations, centroids.data(), threads, set);
}

void encode_into(const NativeCodebook& codebook, const Floats2& values,
                 const Array<const std::uint32_t, 1>& centroids,
                 const Array<std::uint8_t, 2>& codes, const Array<std::uint8_t, 2>& residuals,
                 std::size_t threads, const std::string& instructions) {
    const InstructionSet& set = instruction_set(instructions);
    const Residuals& codec = codebook.get().residuals;
    const std::size_t n = values.shape(0);
    require(values.shape(1) == codec.source, "values and codebook differ in dimension");
    require(centroids.shape(0) == n && codes.shape(0) == n && residuals.shape(0) == n &&
                codes.shape(1) == kCodeBytes && residuals.shape(1) == codec.row_bytes(),
            "codes or residuals do not fit the values");
    for (std::size_t i = 0; i < n; ++i)
        require(centroids.data()[i] < codec.n_centroids, "a centroid is out of range");
    const nb::gil_scoped_release released;
    encode(codec, values.data(), centroids.data(), n, codes.data(), residuals.data(), threads, set);
}

void decode_into(const NativeCodebook& codebook, const Bytes2& codes, const Bytes2& residuals,
                 const Array<std::int8_t, 2>& rows, const Array<float, 1>& scales,
                 std::size_t threads, const std::string& instructions) {
    const InstructionSet& set = instruction_set(instructions);
    const Residuals& codec = codebook.get().residuals;
    const std::size_t n = codes.shape(0);
    require(codes.shape(1) == kCodeBytes && residuals.shape(0) == n &&
                residuals.shape(1) == codec.row_bytes() && rows.shape(0) == n &&
                rows.shape(1) == codec.dim && scales.shape(0) == n,
            "codes, residuals, rows and scales do not fit each other");
    const nb::gil_scoped_release released;
    decode(codec, codes.data(), residuals.data(), n, rows.data(), scales.data(), threads, set);
}

}  // namespace

void bind_codec(nb::module_& module) {
    nb::class_<NativeCodebook>(module, "Codebook", "Centroids and residual points, held by arrays.")
        .def(nb::init<Signed2, Numbers, Signed2, Points, Numbers, std::size_t, std::size_t, float>(),
             "supers"_a.noconvert(), "children"_a.noconvert(), "centroids"_a.noconvert(),
             "points"_a.noconvert(), "levels"_a.noconvert(), "bits"_a, "source"_a, "scale"_a);
    nb::class_<NativeSegment>(module, "Segment", "The arrays of a clustered segment.")
        .def(nb::init<const NativeCodebook&, Bytes2, Bytes2, Numbers, Numbers,
                      Array<const std::uint16_t, 1>>(),
             nb::keep_alive<1, 2>(), "codebook"_a, "codes"_a.noconvert(), "residuals"_a.noconvert(),
             "offsets"_a.noconvert(), "lists"_a.noconvert(), "postings"_a.noconvert());
    module.def("quantize", &quantize_into, "values"_a.noconvert(), "scale"_a, "rows"_a.noconvert(),
               "threads"_a, "Vectors onto the int8 grid.");
    module.def("nearest", &nearest_into, "rows"_a.noconvert(), "parents"_a.noconvert(),
               "centroids"_a.noconvert(), "children"_a.noconvert(), "nearest"_a.noconvert(),
               "threads"_a, "instructions"_a, "The nearest child of each row's parent.");
    module.def("kmeans", &kmeans_into, "rows"_a.noconvert(), "groups"_a.noconvert(),
               "children"_a.noconvert(), "iterations"_a, "centroids"_a.noconvert(), "threads"_a,
               "instructions"_a, "Lloyd's k-means of each group of rows.");
    module.def("encode", &encode_into, "codebook"_a, "values"_a.noconvert(),
               "centroids"_a.noconvert(), "codes"_a.noconvert(), "residuals"_a.noconvert(),
               "threads"_a, "instructions"_a, "Codes and residuals of vectors.");
    module.def("decode", &decode_into, "codebook"_a, "codes"_a.noconvert(),
               "residuals"_a.noconvert(), "rows"_a.noconvert(), "scales"_a.noconvert(), "threads"_a,
               "instructions"_a, "Rows and scales of codes.");
    module.def("pool", &pool_array, "query"_a.noconvert(), "A query in fewer vectors.");
    module.def("probe", &probe_arrays, "query"_a.noconvert(), "codebook"_a, "supers"_a, "probes"_a,
               "instructions"_a, "Stage 1 alone.");
    module.def("gather", &gather_arrays, "query"_a.noconvert(), "codebook"_a, "segments"_a,
               "eligible"_a, "supers"_a, "probes"_a, "candidates"_a, "instructions"_a,
               "Stages 1 to 3: segment, passage and sum of each candidate.");
    module.def("search", &search, "query"_a.noconvert(), "codebook"_a, "segments"_a, "eligible"_a,
               "supers"_a, "probes"_a, "candidates"_a, "k"_a, "margin"_a, "refined"_a,
               "threads"_a, "instructions"_a,
               "All stages: score, segment and passage of each candidate; the seconds of each "
               "stage, and how many candidates were sifted.");
    module.def("score_listed", &score_listed, "query"_a.noconvert(), "codebook"_a, "segments"_a,
               "candidates"_a.noconvert(), "scores"_a.noconvert(), "threads"_a, "instructions"_a,
               "MaxSim of the listed passages.");
}

}  // namespace gingham
