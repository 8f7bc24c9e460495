/* What a GPU draws and how it is: answers from the plant, or fixed ones from the scenario.
 *
 *   gpu.0.energy_mj = 155130              instead of the plant's
 *   gpu.0.power_mw = 60000                of nvmlDeviceGetPowerUsage
 *   gpu.0.power_usage = instant           what that gives of the plant; else by the capability
 *   gpu.0.field.186.0 = 61000             of a field: its number and its scope
 *   gpu.0.module_extra_mw = 90000         scope 1: what a module draws besides its GPU
 *   gpu.0.code.field.186.0 = 3            return code of a field; without the scope: of all
 *   gpu.0.temperature_c, clock_mhz, memory_clock_mhz, event_reasons, architecture,
 *   utilisation_percent
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "field_value.h"
#include "plant.h"
#include "scenario.h"

enum { U32_VALUE = 1, U64_VALUE = 3 };
enum { TOTAL_ENERGY = 83, POWER_AVERAGE = 185, POWER_INSTANT = 186 };

U32(nvmlDeviceGetArchitecture, "architecture")

#ifndef OLD_DRIVER
static int energy(const Device *device, u64 *out) {
    return number(device, "energy_mj", out) == OK ? OK : counter_mj(device->gpu, out);
}

int nvmlDeviceGetTotalEnergyConsumption(Device *device, u64 *out) {
    ENTER(device)
    LEAVE(energy(device, out));
}

static int field_code(const Device *device, const FieldValue *asked) {
    char key[WIDTH];
    snprintf(key, sizeof key, "code.field.%u.%u", asked->field, asked->scope);
    const char *code = value_of(device, key);
    snprintf(key, sizeof key, "code.field.%u", asked->field);
    if (!code) code = value_of(device, key);
    return code ? atoi(code) : OK;
}

static int power(const Device *device, const FieldValue *asked, unsigned *out) {
    u64 extra = 0;
    if (asked->scope == 1 && number(device, "module_extra_mw", &extra) != OK) return NOT_SUPPORTED;
    if (asked->scope > 1) return NOT_SUPPORTED;
    int result = asked->field == POWER_AVERAGE   ? average_mw(device->gpu, out)
                 : asked->field == POWER_INSTANT ? instant_mw(device->gpu, out)
                                                 : NOT_SUPPORTED;
    if (result == OK) *out += (unsigned)extra;
    return result;
}

static int answer(const Device *device, FieldValue *asked) {
    char key[WIDTH];
    int code = field_code(device, asked);
    if (code != OK) return code;
    snprintf(key, sizeof key, "field.%u.%u", asked->field, asked->scope);
    u64 fixed;
    int is_fixed = number(device, key, &fixed) == OK;
    asked->type = asked->field == TOTAL_ENERGY ? U64_VALUE : U32_VALUE;
    if (asked->field == TOTAL_ENERGY) {
        if (is_fixed) asked->value.ull = fixed;
        return is_fixed ? OK : energy(device, &asked->value.ull);
    }
    if (is_fixed) asked->value.u = (unsigned)fixed;
    return is_fixed ? OK : power(device, asked, &asked->value.u);
}

int nvmlDeviceGetFieldValues(Device *device, int count, FieldValue *values) {
    ENTER(device)
    for (int i = 0; i < count; i++) {
        values[i].timestamp = (long long)(now_ns() / 1000);
        values[i].code = answer(device, &values[i]);
    }
    LEAVE(OK);
}

U64(nvmlDeviceGetCurrentClocksEventReasons, "event_reasons")
#endif

int nvmlDeviceGetPowerUsage(Device *device, unsigned *out) {
    ENTER(device)
    if (number32(device, "power_mw", out) == OK) LEAVE(OK);
    const char *kind = value_of(device, "power_usage");
    const char *capability = value_of(device, "compute_capability");
    int average = capability && strcmp(capability, "8.0") && atof(capability) > 8.0;
    if (kind) average = !strcmp(kind, "average");
    LEAVE(average ? average_mw(device->gpu, out) : instant_mw(device->gpu, out));
}

U64(nvmlDeviceGetCurrentClocksThrottleReasons, "event_reasons")

int nvmlDeviceGetTemperature(Device *device, int sensor, unsigned *out) {
    ENTER(device)
    LEAVE(sensor == 0 ? number32(device, "temperature_c", out) : INVALID_ARGUMENT);
}

int nvmlDeviceGetClockInfo(Device *device, int type, unsigned *out) {
    ENTER(device)
    LEAVE(number32(device, type == 2 ? "memory_clock_mhz" : "clock_mhz", out));
}

typedef struct { unsigned gpu, memory; } Utilisation;

int nvmlDeviceGetUtilizationRates(Device *device, Utilisation *out) {
    ENTER(device)
    out->memory = 0;
    LEAVE(number32(device, "utilisation_percent", &out->gpu));
}
