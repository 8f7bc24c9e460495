/* The power of the fake's GPUs over time, and what a sensor makes of it.
 *
 * A test and the library share one mapped file: the test lays down the power as a line of steps that
 * only grows, so a change never rewrites what was drawn before it, and it may hold the clock too.
 * plant.py has the other side.
 *
 * A sensor looks at the last sees_ns of every tau_ns, publishes their mean at the end and keeps it
 * until the next one; it is blind for the rest. The counter adds up what was published.
 */
#ifndef PLANT_H
#define PLANT_H

#include "scenario.h"

enum { PLANT_MAGIC = 0x504c4e54, PLANT_GPUS = 4, MAX_STEPS = 4096 };

/* From at_ns on: mw + mw_per_s * t. mj is what was drawn until then. */
typedef struct { long long at_ns; double mw, mw_per_s, mj; } Step;

typedef struct {
    u64 tau_ns, phase_ns;
    u64 sees_ns;          /* 0: a point in time */
    u64 average_ns;       /* of field 185, a whole number of tau_ns */
    u64 seed;
    double noise_mw;      /* standard deviation of each published value */
    double gain;          /* 0.05: everything is published 5 % too high */
    double start_mj;      /* the counter before the first step */
    long long reset_ns;   /* the counter starts again from 0 here; 0: never */
    unsigned n_steps;     /* 0: this GPU has no power sensor */
    unsigned generation;  /* changes when the line is not merely longer */
    u64 calls;            /* about this GPU */
    Step steps[MAX_STEPS];
} Supply;

typedef struct {
    unsigned magic, pad;
    u64 now_ns;           /* 0: the clock is CLOCK_MONOTONIC */
    u64 calls;            /* of any function, init included */
    u64 revision;         /* of the scenario */
    Supply gpus[PLANT_GPUS];
} Plant;

/* Map the file that FAKE_NVML_PLANT names, instead of the last one. */
void map_plant(void);
Plant *the_plant(void);
void wait_ns(u64 ns);
u64 now_ns(void);

/* Answers of a GPU's sensor at this moment, in mW and mJ. */
int counter_mj(int gpu, u64 *out);
int instant_mw(int gpu, unsigned *out);
int average_mw(int gpu, unsigned *out);

#endif
