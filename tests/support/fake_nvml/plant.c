#include "plant.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

const unsigned fake_nvml_plant_size = sizeof(Plant);

static Plant *plant;

/* What a blind or noisy sensor's counter holds can only be found by adding up. */
static struct { unsigned generation; long long tick; double mj; } added_up[PLANT_GPUS];

void map_plant(void) {
    const char *path = getenv("FAKE_NVML_PLANT");
    if (plant) munmap(plant, sizeof *plant);
    plant = NULL;
    memset(added_up, 0, sizeof added_up);
    int file = path ? open(path, O_RDWR) : -1;
    if (file < 0) return;
    void *map = mmap(NULL, sizeof *plant, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (map != MAP_FAILED && ((Plant *)map)->magic == PLANT_MAGIC) plant = map;
}

Plant *the_plant(void) { return plant; }

u64 now_ns(void) {
    u64 now = plant ? __atomic_load_n(&plant->now_ns, __ATOMIC_ACQUIRE) : 0;
    if (now) return now;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (u64)time.tv_sec * 1000000000u + (u64)time.tv_nsec;
}

void wait_ns(u64 ns) {
    if (plant && plant->now_ns) {
        __atomic_add_fetch(&plant->now_ns, ns, __ATOMIC_SEQ_CST);
        return;
    }
    struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    nanosleep(&time, NULL);
}

/* The last step that began by then; the first one reaches back for ever, without its slope. */
static const Step *step_at(const Supply *supply, long long t_ns) {
    unsigned low = 0, high = __atomic_load_n(&supply->n_steps, __ATOMIC_ACQUIRE);
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (supply->steps[middle].at_ns <= t_ns) low = middle;
        else high = middle;
    }
    return &supply->steps[low];
}

static double power_mw(const Supply *supply, long long t_ns) {
    const Step *step = step_at(supply, t_ns);
    double dt = (double)(t_ns - step->at_ns) / 1e9;
    return dt < 0 ? step->mw : step->mw + step->mw_per_s * dt;
}

static double drawn_mj(const Supply *supply, long long t_ns) {
    const Step *step = step_at(supply, t_ns);
    double dt = (double)(t_ns - step->at_ns) / 1e9;
    return step->mj + step->mw * dt + (dt < 0 ? 0 : step->mw_per_s * dt * dt / 2);
}

static u64 mixed(u64 x) { /* splitmix64 (Steele, Lea, Flood 2014) */
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static double noise(u64 seed, long long tick) { /* nearly normal, variance 1: four uniforms */
    double sum = 0;
    for (u64 i = 0; i < 4; i++)
        sum += (double)(mixed(seed ^ mixed((u64)tick * 4 + i)) >> 11) / (double)(1ull << 53) - 0.5;
    return sum * 1.7320508075688772;
}

static long long tick_of(const Supply *supply, long long t_ns) {
    return (t_ns - (long long)supply->phase_ns) / (long long)supply->tau_ns;
}

static long long time_of(const Supply *supply, long long tick) {
    return tick * (long long)supply->tau_ns + (long long)supply->phase_ns;
}

static double published_mw(const Supply *supply, long long tick) {
    long long end = time_of(supply, tick), sees = (long long)supply->sees_ns;
    double mw = power_mw(supply, end);
    if (sees) mw = (drawn_mj(supply, end) - drawn_mj(supply, end - sees)) / ((double)sees / 1e9);
    mw *= 1 + supply->gain;
    if (supply->noise_mw > 0) mw += supply->noise_mw * noise(supply->seed, tick);
    return mw > 0 ? mw : 0;
}

static double counted_mj(const Supply *supply, int gpu, long long tick) {
    if (supply->sees_ns == supply->tau_ns && supply->noise_mw == 0)
        return drawn_mj(supply, time_of(supply, tick)) * (1 + supply->gain);
    if (added_up[gpu].generation != supply->generation || added_up[gpu].tick > tick) {
        added_up[gpu].generation = supply->generation;
        added_up[gpu].tick = tick_of(supply, supply->steps[0].at_ns);
        added_up[gpu].mj = 0;
    }
    while (added_up[gpu].tick < tick)
        added_up[gpu].mj +=
            published_mw(supply, ++added_up[gpu].tick) * ((double)supply->tau_ns / 1e9);
    return added_up[gpu].mj;
}

static const Supply *supply_of(int gpu) {
    if (!plant || gpu >= PLANT_GPUS || !plant->gpus[gpu].n_steps) return NULL;
    return &plant->gpus[gpu];
}

int counter_mj(int gpu, u64 *out) {
    const Supply *supply = supply_of(gpu);
    if (!supply) return NOT_SUPPORTED;
    long long now = (long long)now_ns(), tick = tick_of(supply, now);
    double mj = supply->start_mj;
    if (supply->reset_ns && now >= supply->reset_ns)
        mj = -counted_mj(supply, gpu, tick_of(supply, supply->reset_ns));
    mj += counted_mj(supply, gpu, tick);
    *out = mj > 0 ? (u64)mj : 0;
    return OK;
}

int instant_mw(int gpu, unsigned *out) {
    const Supply *supply = supply_of(gpu);
    if (!supply) return NOT_SUPPORTED;
    *out = (unsigned)(published_mw(supply, tick_of(supply, (long long)now_ns())) + 0.5);
    return OK;
}

int average_mw(int gpu, unsigned *out) {
    const Supply *supply = supply_of(gpu);
    if (!supply) return NOT_SUPPORTED;
    long long tick = tick_of(supply, (long long)now_ns());
    long long n = (long long)(supply->average_ns / supply->tau_ns);
    double sum = 0;
    for (long long i = 0; i < n; i++) sum += published_mw(supply, tick - i);
    *out = (unsigned)(sum / (double)n + 0.5);
    return OK;
}
