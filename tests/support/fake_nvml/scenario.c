#include "scenario.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plant.h"

enum { MAX_LINES = 1024 };

int opened;

static struct { char key[WIDTH], value[WIDTH]; } lines[MAX_LINES];
static int n_lines;
static struct stat seen;
static u64 seen_revision;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

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
    const Plant *plant = the_plant();
    u64 revision = plant ? plant->revision : 0;
    struct stat now;
    if (!path || stat(path, &now)) { n_lines = 0; return; }
    /* A file system's clock is coarse: whoever writes twice within a few ms says so in the plant. */
    if (now.st_ino == seen.st_ino && now.st_size == seen.st_size && revision == seen_revision &&
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
    seen_revision = revision;
}

static const char *lookup(const char *key) {
    for (int i = 0; i < n_lines; i++)
        if (!strcmp(lines[i].key, key)) return lines[i].value;
    return NULL;
}

const char *value_of(const Device *device, const char *name) {
    char key[WIDTH];
    if (!device) snprintf(key, sizeof key, "%s", name);
    else if (device->slice < 0) snprintf(key, sizeof key, "gpu.%d.%s", device->gpu, name);
    else snprintf(key, sizeof key, "gpu.%d.mig.%d.%s", device->gpu, device->slice, name);
    return lookup(key);
}

static void log_call(const Device *device, const char *function) {
    Plant *plant = the_plant();
    if (plant) __atomic_add_fetch(&plant->calls, 1, __ATOMIC_SEQ_CST);
    if (plant && device && device->gpu < PLANT_GPUS)
        __atomic_add_fetch(&plant->gpus[device->gpu].calls, 1, __ATOMIC_SEQ_CST);
    const char *path = getenv("FAKE_NVML_LOG");
    if (!path) return;
    int log = open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
    char line[WIDTH];
    int n = snprintf(line, sizeof line, "%s\n", function);
    if (log >= 0) { if (write(log, line, (size_t)n) != n) abort(); close(log); }
}

/* Half of what a call about this GPU shall take. */
static u64 half_ns(const Device *device) {
    u64 us;
    return device && number(device, "delay_us", &us) == OK ? us * 1000 / 2 : 0;
}

/* The code that the scenario wants of a function; a slice shares its card's fate. */
static int wanted_code(const Device *device, const char *function) {
    char name[WIDTH];
    snprintf(name, sizeof name, "code.%s", function);
    Device card = {device ? device->gpu : 0, -1};
    const Device *places[] = {device, device ? &card : NULL};
    for (int i = 0; i < 2; i++) {
        const char *code = value_of(places[i], name);
        if (!code && places[i]) code = value_of(places[i], "code.all");
        if (code) return atoi(code);
    }
    return OK;
}

int enter(const Device *device, const char *function) {
    pthread_mutex_lock(&lock);
    log_call(device, function);
    load();
    u64 delay = half_ns(device);
    if (delay) { /* a slow GPU does not hold up the others */
        pthread_mutex_unlock(&lock);
        wait_ns(delay);
        pthread_mutex_lock(&lock);
        load();
    }
    if (!opened && strncmp(function, "nvmlInit", 8)) return UNINITIALIZED;
    return wanted_code(device, function);
}

void leave(const Device *device) {
    u64 delay = half_ns(device);
    pthread_mutex_unlock(&lock);
    if (delay) wait_ns(delay);
}

int number(const Device *device, const char *name, u64 *out) {
    const char *value = value_of(device, name);
    if (!value) return NOT_SUPPORTED;
    *out = strtoull(value, NULL, 0);
    return OK;
}

int number32(const Device *device, const char *name, unsigned *out) {
    u64 value;
    int result = number(device, name, &value);
    if (result == OK) *out = (unsigned)value;
    return result;
}

int text(const Device *device, const char *name, char *out, unsigned length) {
    const char *value = value_of(device, name);
    if (!value) return NOT_SUPPORTED;
    if (strlen(value) + 1 > length) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return OK;
}
