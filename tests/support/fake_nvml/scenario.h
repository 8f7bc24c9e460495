/* A scenario: what a text file says of a machine, and how every function of the fake begins. */
#ifndef SCENARIO_H
#define SCENARIO_H

enum {
    OK = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7
};
enum { MAX_GPUS = 16, MAX_SLICES = 8, WIDTH = 256 };

typedef unsigned long long u64;
typedef struct { int gpu, slice; } Device; /* slice -1: the whole card */

/* Number of times that NVML was opened, less the times that it was closed. */
extern int opened;

/* Log a call, wait as long as it shall take and return the code that the scenario wants. */
int enter(const Device *device, const char *function);
void leave(const Device *device);

/* Values of the scenario; a device of NULL asks for the system's. */
const char *value_of(const Device *device, const char *name);
int number(const Device *device, const char *name, u64 *out);
int number32(const Device *device, const char *name, unsigned *out);
int text(const Device *device, const char *name, char *out, unsigned length);

#define ENTER(device)                          \
    const Device *entered = (device);          \
    int code = enter(entered, __func__);       \
    if (code != OK) { leave(entered); return code; }
#define LEAVE(result) do { int r = (result); leave(entered); return r; } while (0)

#define U32(function, key) \
    int function(Device *device, unsigned *out) { ENTER(device) LEAVE(number32(device, key, out)); }
#define U64(function, key) \
    int function(Device *device, u64 *out) { ENTER(device) LEAVE(number(device, key, out)); }
#define TEXT(function, key)                                       \
    int function(Device *device, char *out, unsigned length) {    \
        ENTER(device) LEAVE(text(device, key, out, length));      \
    }

#endif
