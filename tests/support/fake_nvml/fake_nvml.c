/* A libnvidia-ml.so.1 that answers from a text file, so that the real nvidia-ml-py can be tested on
 * a machine without a GPU.
 *
 * FAKE_NVML_SCENARIO names the file: lines "key = value", '#' starts a comment. It is read again
 * whenever it changes, so a test may alter the machine while a program watches it.
 * FAKE_NVML_LOG names a file to which every call, init included, appends its function's name.
 *
 *   driver = 560.35.03            system values
 *   gpus = 2                      number of GPUs
 *   gpu.0.name = NVIDIA ...       a device's values; "\xNN" is a byte
 *   gpu.0.mig.1.uuid = MIG-...    the same of a MIG slice
 *   code.FUNCTION = 9             return code of a system function
 *   gpu.0.code.FUNCTION = 3       return code of a device function; FUNCTION "all" is every one
 *
 * A value that is not in the file is NOT_SUPPORTED. A function that is not in this file plays an
 * old driver: the binding turns the missing symbol into FUNCTION_NOT_FOUND.
 *
 * To add a function: one line with U32, U64 or TEXT below, or a body that starts with ENTER.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { MAX_GPUS = 16, MAX_SLICES = 8, MAX_LINES = 1024, WIDTH = 256 };

typedef unsigned long long u64;
typedef struct { int gpu, slice; } Device; /* slice -1: the whole card */

typedef struct { u64 total, free, used; } MemoryV1;
typedef struct { unsigned version; u64 total, reserved, free, used; } MemoryV2;
typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
} PciInfo;
typedef struct { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; } Process;
typedef struct {
    unsigned multiprocessors, copy, decoder, encoder, jpeg, ofa, gpu_slices, compute_slices;
    u64 memory_mib;
} Attributes;

/* For the test that compares them with ctypes.sizeof of the binding's structs. */
const unsigned fake_nvml_sizes[] = {sizeof(MemoryV1), sizeof(MemoryV2), sizeof(PciInfo),
                                    sizeof(Process), sizeof(Attributes)};

/* ---- the scenario ---- */

static struct { char key[WIDTH], value[WIDTH]; } lines[MAX_LINES];
static int n_lines;
static struct stat seen;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Device devices[MAX_GPUS][MAX_SLICES + 1];

static void unescape(char *text) {
    char *out = text;
    for (char *in = text; *in; ) {
        unsigned byte;
        if (in[0] == '\\' && in[1] == 'x' && sscanf(in + 2, "%2x", &byte) == 1) {
            *out++ = (char)byte;
            in += 4;
        } else {
            *out++ = *in++;
        }
    }
    *out = 0;
}

static void load(void) {
    const char *path = getenv("FAKE_NVML_SCENARIO");
    struct stat now;
    if (!path || stat(path, &now)) { n_lines = 0; return; }
    if (now.st_ino == seen.st_ino && now.st_size == seen.st_size &&
        now.st_mtim.tv_sec == seen.st_mtim.tv_sec && now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec)
        return;
    FILE *file = fopen(path, "r");
    if (!file) return;
    char line[2 * WIDTH];
    n_lines = 0;
    while (n_lines < MAX_LINES && fgets(line, sizeof line, file)) {
        if (line[0] == '#' ||
            sscanf(line, " %255[^ =] = %255[^\n]", lines[n_lines].key, lines[n_lines].value) != 2)
            continue;
        unescape(lines[n_lines++].value);
    }
    fclose(file);
    seen = now;
}

static const char *lookup(const char *key) {
    for (int i = 0; i < n_lines; i++)
        if (!strcmp(lines[i].key, key)) return lines[i].value;
    return NULL;
}

static const char *value_of(const Device *device, const char *name) {
    char key[WIDTH];
    if (!device) snprintf(key, sizeof key, "%s", name);
    else if (device->slice < 0) snprintf(key, sizeof key, "gpu.%d.%s", device->gpu, name);
    else snprintf(key, sizeof key, "gpu.%d.mig.%d.%s", device->gpu, device->slice, name);
    return lookup(key);
}

/* Log the call and return the code that the scenario wants; a slice shares its card's fate. */
static int enter(const Device *device, const char *function) {
    const char *path = getenv("FAKE_NVML_LOG");
    if (path) {
        int log = open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
        char line[WIDTH];
        int n = snprintf(line, sizeof line, "%s\n", function);
        if (log >= 0) { if (write(log, line, (size_t)n) != n) abort(); close(log); }
    }
    load();
    char name[WIDTH];
    Device card = {device ? device->gpu : 0, -1};
    const Device *places[] = {device, device ? &card : NULL};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "code.%s", function);
        const char *code = value_of(places[i], name);
        if (!code && places[i]) code = value_of(places[i], "code.all");
        if (code) return atoi(code);
    }
    return OK;
}

#define ENTER(device)                                    \
    pthread_mutex_lock(&lock);                           \
    int code = enter(device, __func__);                  \
    if (code != OK) { pthread_mutex_unlock(&lock); return code; }
#define LEAVE(result) do { int r = (result); pthread_mutex_unlock(&lock); return r; } while (0)

static int number(const Device *device, const char *name, u64 *out) {
    const char *value = value_of(device, name);
    if (!value) return NOT_SUPPORTED;
    *out = strtoull(value, NULL, 0);
    return OK;
}

static int number32(const Device *device, const char *name, unsigned *out) {
    u64 value;
    int result = number(device, name, &value);
    if (result == OK) *out = (unsigned)value;
    return result;
}

static int text(const Device *device, const char *name, char *out, unsigned length) {
    const char *value = value_of(device, name);
    if (!value) return NOT_SUPPORTED;
    if (strlen(value) + 1 > length) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return OK;
}

#define U32(function, key) \
    int function(Device *device, unsigned *out) { ENTER(device) LEAVE(number32(device, key, out)); }
#define TEXT(function, key)                                       \
    int function(Device *device, char *out, unsigned length) {    \
        ENTER(device) LEAVE(text(device, key, out, length));      \
    }

/* ---- the system ---- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    ENTER(NULL)
    LEAVE(OK);
}

int nvmlShutdown(void) {
    ENTER(NULL)
    LEAVE(OK);
}

const char *nvmlErrorString(int code) {
    static char message[32];
    snprintf(message, sizeof message, "fake error %d", code);
    return message;
}

int nvmlSystemGetDriverVersion(char *out, unsigned length) {
    ENTER(NULL)
    LEAVE(text(NULL, "driver", out, length));
}

int nvmlSystemGetCudaDriverVersion_v2(int *out) {
    ENTER(NULL)
    LEAVE(number32(NULL, "cuda", (unsigned *)out));
}

int nvmlDeviceGetCount_v2(unsigned *out) {
    ENTER(NULL)
    LEAVE(number32(NULL, "gpus", out));
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **out) {
    Device asked = {(int)index, -1};
    ENTER(&asked)
    u64 count = 0;
    number(NULL, "gpus", &count);
    if (index >= count || index >= MAX_GPUS) LEAVE(INVALID_ARGUMENT);
    devices[index][0] = asked;
    *out = &devices[index][0];
    LEAVE(OK);
}

/* ---- a device ---- */

TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetUUID, "uuid")
U32(nvmlDeviceGetNumGpuCores, "cores")
U32(nvmlDeviceGetMemoryBusWidth, "bus_width_bits")
U32(nvmlDeviceGetEnforcedPowerLimit, "power_limit_mw")
U32(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_gen")
U32(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_gen_max")
U32(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width")
U32(nvmlDeviceGetMaxPcieLinkWidth, "pcie_width_max")
U32(nvmlDeviceGetMaxMigDeviceCount, "mig.places")

int nvmlDeviceGetPciInfo_v3(Device *device, PciInfo *out) {
    ENTER(device)
    memset(out, 0, sizeof *out);
    number32(device, "pci_device_id", &out->device_id);
    LEAVE(text(device, "bus_id", out->bus_id, sizeof out->bus_id));
}

int nvmlDeviceGetCudaComputeCapability(Device *device, int *major, int *minor) {
    ENTER(device)
    const char *value = value_of(device, "compute_capability");
    LEAVE(value && sscanf(value, "%d.%d", major, minor) == 2 ? OK : NOT_SUPPORTED);
}

int nvmlDeviceGetMaxClockInfo(Device *device, int type, unsigned *out) {
    ENTER(device)
    LEAVE(number32(device, type == 2 ? "max_memory_clock_mhz" : "max_clock_mhz", out));
}

static int memory(const Device *device, u64 *total, u64 *reserved, u64 *used) {
    int result = number(device, "total_mib", total);
    *reserved = *used = 0;
    number(device, "reserved_mib", reserved);
    number(device, "used_mib", used);
    *total <<= 20, *reserved <<= 20, *used <<= 20;
    return result;
}

int nvmlDeviceGetMemoryInfo(Device *device, MemoryV1 *out) {
    ENTER(device)
    u64 total, reserved, used;
    int result = memory(device, &total, &reserved, &used);
    if (result != OK) LEAVE(result);
    out->total = total;
    out->used = used + reserved; /* version 1 has no place for it */
    out->free = total - out->used;
    LEAVE(OK);
}

#ifndef WITHOUT_MEMORY_V2
int nvmlDeviceGetMemoryInfo_v2(Device *device, MemoryV2 *out) {
    ENTER(device)
    u64 total, reserved, used;
    int result = memory(device, &total, &reserved, &used);
    if (result != OK) LEAVE(result);
    out->total = total;
    out->reserved = reserved;
    out->used = used;
    out->free = total - used - reserved;
    LEAVE(OK);
}
#endif

static int processes(const Device *device, const char *key, unsigned *count, Process *out) {
    const char *list = value_of(device, key); /* "812:1200 700:400": pid:MiB */
    unsigned found = 0, room = *count;
    for (int skip; list; list += skip) {
        unsigned pid, mib;
        if (sscanf(list, " %u:%u%n", &pid, &mib, &skip) != 2) break;
        if (found < room) out[found] = (Process){pid, (u64)mib << 20, ~0u, ~0u};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *count, Process *out) {
    ENTER(device)
    LEAVE(processes(device, "processes", count, out));
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(Device *device, unsigned *count, Process *out) {
    ENTER(device)
    LEAVE(processes(device, "graphics_processes", count, out));
}

/* ---- MIG ---- */

int nvmlDeviceGetMigMode(Device *device, unsigned *current, unsigned *pending) {
    ENTER(device)
    int result = number32(device, "mig_mode", current);
    if (result == OK) *pending = *current;
    LEAVE(result);
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device *device, unsigned index, Device **out) {
    ENTER(device)
    Device asked = {device->gpu, (int)index};
    if (index >= MAX_SLICES || !value_of(&asked, "uuid")) LEAVE(NOT_FOUND);
    devices[device->gpu][index + 1] = asked;
    *out = &devices[device->gpu][index + 1];
    LEAVE(OK);
}

int nvmlDeviceGetAttributes_v2(Device *device, Attributes *out) {
    ENTER(device)
    memset(out, 0, sizeof *out);
    int result = number32(device, "multiprocessors", &out->multiprocessors);
    if (result != OK) LEAVE(result);
    number32(device, "gpu_slices", &out->gpu_slices);
    number32(device, "compute_slices", &out->compute_slices);
    number(device, "slice_mib", &out->memory_mib);
    LEAVE(OK);
}
