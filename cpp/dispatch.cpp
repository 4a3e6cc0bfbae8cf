// Which instruction sets this machine runs: asked of the processor and the operating system once.
// The build says by GINGHAM_X86, GINGHAM_AVXVNNI and GINGHAM_NEON which bodies it compiled.
#include <stdexcept>

#include "maxsim.h"

#if defined(GINGHAM_X86)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(GINGHAM_NEON)
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>
#endif
#endif

namespace gingham {

extern const InstructionSet portable_set, avx2_set, avx512_set, neon_set;
void avxvnni_int8(const Work& work);
void avxvnni_products(const Work& work);
void avx512vnni_int8(const Work& work);
void avx512vnni_products(const Work& work);
void neondot_int8(const Work& work);
void neondot_products(const Work& work);

namespace {

InstructionSet with_int8(const InstructionSet& base, const char* name, Body int8, Body products,
                         std::int32_t offset) {
    InstructionSet set = base;
    set.name = name;
    set.int8 = int8;
    set.int8_step = 4;
    set.int8_offset = offset;
    set.products = products;
    return set;
}

#if defined(GINGHAM_X86)

struct Cpuid {
    std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Cpuid cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    Cpuid result;
#if defined(_MSC_VER)
    int registers[4];
    __cpuid(registers, 0);
    if (static_cast<std::uint32_t>(registers[0]) < leaf) return result;
    __cpuidex(registers, static_cast<int>(leaf), static_cast<int>(subleaf));
    result.eax = static_cast<std::uint32_t>(registers[0]);
    result.ebx = static_cast<std::uint32_t>(registers[1]);
    result.ecx = static_cast<std::uint32_t>(registers[2]);
    result.edx = static_cast<std::uint32_t>(registers[3]);
#else
    __get_cpuid_count(leaf, subleaf, &result.eax, &result.ebx, &result.ecx, &result.edx);
#endif
    return result;
}

// The register state that the operating system saves; without it the instructions must not run.
std::uint64_t saved_state() {
#if defined(_MSC_VER)
    return _xgetbv(0);
#else
    std::uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (std::uint64_t{high} << 32) | low;
#endif
}

std::vector<const InstructionSet*> detect() {
    const auto bit = [](std::uint32_t word, int n) { return (word >> n & 1) != 0; };
    const Cpuid basic = cpuid(1, 0), extended = cpuid(7, 0), more = cpuid(7, 1);
    const bool osxsave = bit(basic.ecx, 27);
    const std::uint64_t state = osxsave ? saved_state() : 0;
    const bool has_avx2 = (state & 0x6) == 0x6 && bit(basic.ecx, 12) /* FMA */ &&
                          bit(basic.ecx, 29) /* F16C */ && bit(extended.ebx, 5);
    const bool has_avx512 = has_avx2 && (state & 0xe6) == 0xe6 && bit(extended.ebx, 16) /* F */ &&
                            bit(extended.ebx, 17) /* DQ */ && bit(extended.ebx, 30) /* BW */ &&
                            bit(extended.ebx, 31) /* VL */;
    std::vector<const InstructionSet*> sets;
    if (has_avx512 && bit(extended.ecx, 11)) {
        static const InstructionSet avx512vnni_set =
            with_int8(avx512_set, "avx512vnni", avx512vnni_int8, avx512vnni_products, 128);
        sets.push_back(&avx512vnni_set);
    }
    if (has_avx512) sets.push_back(&avx512_set);
#if defined(GINGHAM_AVXVNNI)
    if (has_avx2 && bit(more.eax, 4)) {
        static const InstructionSet avxvnni_set =
            with_int8(avx2_set, "avxvnni", avxvnni_int8, avxvnni_products, 128);
        sets.push_back(&avxvnni_set);
    }
#else
    (void)more;
#endif
    if (has_avx2) sets.push_back(&avx2_set);
    sets.push_back(&portable_set);
    return sets;
}

#elif defined(GINGHAM_NEON)

bool has_dot_product() {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) >> 20 & 1) != 0;  // HWCAP_ASIMDDP
#elif defined(__APPLE__)
    int value = 0;
    std::size_t size = sizeof(value);
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, nullptr, 0) == 0 && value;
#elif defined(_WIN32)
    return IsProcessorFeaturePresent(43) != 0;  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
#else
    return false;
#endif
}

std::vector<const InstructionSet*> detect() {
    std::vector<const InstructionSet*> sets;
    if (has_dot_product()) {
        static const InstructionSet neondot_set = with_int8(neon_set, "neondot", neondot_int8, neondot_products, 0);
        sets.push_back(&neondot_set);
    }
    sets.push_back(&neon_set);
    sets.push_back(&portable_set);
    return sets;
}

#else

std::vector<const InstructionSet*> detect() { return {&portable_set}; }

#endif

}  // namespace

const std::vector<const InstructionSet*>& instruction_sets() {
    static const std::vector<const InstructionSet*> sets = detect();
    return sets;
}

const InstructionSet& instruction_set(const std::string& name) {
    if (name.empty()) return *instruction_sets().front();
    std::string names;
    for (const InstructionSet* set : instruction_sets()) {
        if (set->name == name) return *set;
        names += (names.empty() ? "" : ", ") + std::string(set->name);
    }
    throw std::invalid_argument("instruction set '" + name +
                                "' is unknown or not run by this machine, which runs " + names);
}

}  // namespace gingham
