// How fast this processor multiplies and adds at best: the floor under every MaxSim kernel.
// Prints lines of `instruction nanoseconds` for 32 x 128 multiply-adds, one document token against
// 32 query vectors of 128 dimensions. benchmarks/kernels.py compiles and runs it; GCC or Clang.
#include <algorithm>
#include <chrono>
#include <cstdio>

namespace {

template <class Loop>
void measure(const char* name, double lanes, const Loop& loop) {
    constexpr int kRounds = 10'000, kSums = 12;  // 12 independent sums hide the latency
    double best = 1e30;
    for (int repeat = 0; repeat < 50; ++repeat) {
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < kRounds; ++i) loop();
        const std::chrono::duration<double, std::nano> taken =
            std::chrono::steady_clock::now() - start;
        best = std::min(best, taken.count());
    }
    std::printf("%s %.3f\n", name, best / (lanes * kSums * kRounds) * 32 * 128);
}

}  // namespace

#define TWELVE(one) one(0) one(1) one(2) one(3) one(4) one(5) one(6) one(7) one(8) one(9) one(10) one(11)
#if defined(__x86_64__)
#define CLOBBERED                                                                          \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12"
#define FMA_YMM(n) "vfmadd231ps %%ymm12, %%ymm12, %%ymm" #n "\n\t"
#define FMA_ZMM(n) "vfmadd231ps %%zmm12, %%zmm12, %%zmm" #n "\n\t"
#define MADD_YMM(n) "vpmaddwd %%ymm12, %%ymm12, %%ymm" #n "\n\t"
#define MADD_ZMM(n) "vpmaddwd %%zmm12, %%zmm12, %%zmm" #n "\n\t"
#define VNNI_ZMM(n) "vpdpbusd %%zmm12, %%zmm12, %%zmm" #n "\n\t"
#define CLEAR "vxorps %%xmm12, %%xmm12, %%xmm12\n\t"

int main() {
    if (__builtin_cpu_supports("avx2")) {
        measure("fma_ymm", 8, [] { __asm__ volatile(CLEAR TWELVE(FMA_YMM)::: CLOBBERED); });
        measure("madd_ymm", 16, [] { __asm__ volatile(CLEAR TWELVE(MADD_YMM)::: CLOBBERED); });
    }
    if (__builtin_cpu_supports("avx512f"))
        measure("fma_zmm", 16, [] { __asm__ volatile(CLEAR TWELVE(FMA_ZMM)::: CLOBBERED); });
    if (__builtin_cpu_supports("avx512bw"))
        measure("madd_zmm", 32, [] { __asm__ volatile(CLEAR TWELVE(MADD_ZMM)::: CLOBBERED); });
    if (__builtin_cpu_supports("avx512vnni"))
        measure("vnni_zmm", 64, [] { __asm__ volatile(CLEAR TWELVE(VNNI_ZMM)::: CLOBBERED); });
}
#else
int main() {}
#endif
