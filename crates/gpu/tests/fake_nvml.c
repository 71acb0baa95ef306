/* A driver's library with two cards, the second of which fell off the bus: what the tests of `facesocial-gpu` ask. The layout
   of the structures is that of NVIDIA's nvml.h. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, GPU_IS_LOST = 15, INSUFFICIENT_SIZE = 7 };

struct card { unsigned index; };
static struct card cards[2] = {{0}, {1}};

struct memory { unsigned version; unsigned long long total, reserved, free, used; };
struct utilization { unsigned gpu, memory; };
struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };

#define MIB (1024ull * 1024)

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return SUCCESS; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "580.65.06"); return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13020; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct card **card) {
    if (index > 1) return INVALID_ARGUMENT;
    *card = &cards[index];
    return SUCCESS;
}

int nvmlDeviceGetName(struct card *card, char *text, unsigned size) {
    if (card->index == 1) return GPU_IS_LOST;
    snprintf(text, size, "NVIDIA Test 3060");
    return SUCCESS;
}

int nvmlDeviceGetUUID(struct card *card, char *text, unsigned size) {
    snprintf(text, size, "GPU-%u", card->index);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(struct card *card, struct memory *memory) {
    if (memory->version != (sizeof(struct memory) | 2u << 24)) return INVALID_ARGUMENT;
    memory->total = 6144 * MIB;
    memory->reserved = 0;
    memory->used = 1500 * MIB;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

/* The load grows with every question, which tells how often was asked. */
int nvmlDeviceGetUtilizationRates(struct card *card, struct utilization *utilization) {
    static unsigned asked = 0;
    utilization->gpu = ++asked;
    utilization->memory = 99;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(struct card *card, int sensor, unsigned *celsius) {
    if (sensor != 0) return INVALID_ARGUMENT;
    *celsius = 61;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(struct card *card, unsigned *count, struct process *processes) {
    if (*count < 2) {
        *count = 2;
        return INSUFFICIENT_SIZE;
    }
    *count = 2;
    processes[0] = (struct process){1, 1000 * MIB, ~0u, ~0u};
    processes[1] = (struct process){(unsigned)getpid(), 384 * MIB, ~0u, ~0u};
    return SUCCESS;
}

/* nvmlDeviceGetPowerUsage is missing, as in a driver that does not know it. */
