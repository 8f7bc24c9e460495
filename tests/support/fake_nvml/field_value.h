/* NVML's answer for one numbered field. */
#ifndef FIELD_VALUE_H
#define FIELD_VALUE_H

typedef union { double d; int i; unsigned u; unsigned long ul; unsigned long long ull; long long ll; } Value;
typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int code;
    Value value;
} FieldValue;

#endif
