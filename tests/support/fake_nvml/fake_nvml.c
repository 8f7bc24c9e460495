/* A libnvidia-ml.so.1 that answers from a text file, so that the real nvidia-ml-py can be tested on
 * a machine without a GPU. What a GPU is lies here; its power and its health are in fake_power.c.
 *
 * FAKE_NVML_SCENARIO names the file: lines "key = value", '#' starts a comment. It is read again
 * whenever it changes, so a test may alter the machine while a program watches it.
 * FAKE_NVML_LOG names a file to which every call, init included, appends its function's name.
 * FAKE_NVML_PLANT names a file with the clock and with each GPU's power over time: plant.h.
 *
 *   driver = 560.35.03            system values
 *   gpus = 2                      number of GPUs
 *   gpu.0.name = NVIDIA ...       a device's values; "\xNN" is a byte
 *   gpu.0.mig.1.uuid = MIG-...    the same of a MIG slice
 *   gpu.0.delay_us = 200000       every call about this GPU takes so long
 *   code.FUNCTION = 9             return code of a system function
 *   gpu.0.code.FUNCTION = 3       return code of a device function; FUNCTION "all" is every one
 *
 * A value that is not in the file is NOT_SUPPORTED. A function that is not in these files plays an
 * old driver: the binding turns the missing symbol into FUNCTION_NOT_FOUND.
 *
 * To add a function: one line with U32, U64 or TEXT below, or a body that starts with ENTER.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "field_value.h"
#include "plant.h"
#include "scenario.h"

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
                                    sizeof(Process), sizeof(Attributes), sizeof(FieldValue)};

static Device devices[MAX_GPUS][MAX_SLICES + 1];

/* ---- the system ---- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!opened) map_plant();
    ENTER(NULL)
    opened++;
    LEAVE(OK);
}

int nvmlShutdown(void) {
    ENTER(NULL)
    opened--;
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

/* The place of a GPU on the bus, however it is written; -1 for what is no address. */
static long long place(const char *bus_id) {
    unsigned domain, bus, device, function;
    if (!bus_id || sscanf(bus_id, "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4) return -1;
    return ((long long)domain << 24) | (bus << 16) | (device << 8) | function;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, Device **out) {
    ENTER(NULL)
    u64 count = 0;
    number(NULL, "gpus", &count);
    for (int index = 0; index < (int)count && index < MAX_GPUS; index++) {
        Device asked = {index, -1};
        const char *lost = value_of(&asked, "code.all"), *own = value_of(&asked, "bus_id");
        if (place(own) < 0 || place(own) != place(bus_id)) continue;
        if (lost) LEAVE(atoi(lost));
        devices[index][0] = asked;
        *out = &devices[index][0];
        LEAVE(OK);
    }
    LEAVE(NOT_FOUND);
}

/* ---- a device ---- */

int nvmlDeviceGetIndex(Device *device, unsigned *out) {
    ENTER(device)
    *out = (unsigned)device->gpu;
    LEAVE(OK);
}

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

int nvmlDeviceGetComputeRunningProcesses_v2(Device *device, unsigned *count, Process *out) {
    ENTER(device)
    LEAVE(processes(device, "processes", count, out));
}

#ifndef OLD_DRIVER
int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *count, Process *out) {
    ENTER(device)
    LEAVE(processes(device, "processes", count, out));
}
#endif

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
