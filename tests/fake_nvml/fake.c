/* A libnvidia-ml.so.1 for tests: the symbols the probe calls, with values, errors and faults steered by a text file.
 *
 * FAKE_NVML_FILE names lines of "key value": gpus 4 | power_mw 300000 | gpu.1.power_mw 350000 | gpu.2.lost 1 |
 * error.nvmlDeviceGetPowerUsage 999 | hang.nvmlDeviceGetTemperature 1 | xid.3 79 (told once). It is read again when it
 * changes. -DNO_<SYMBOL> leaves a symbol out, as an old driver does. The values prove wiring, not driver semantics.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, LOST = 15 };
enum { KEYS = 512, KEY_LENGTH = 96, GPUS = 16 };

typedef unsigned int uint;
typedef unsigned long long ulong64;
typedef struct { uint index; int mig; } Device;

static struct { char key[KEY_LENGTH]; long long number; char text[KEY_LENGTH]; } lines[KEYS];
static int line_count;
static struct timespec read_at;
static off_t read_size = -1;
static Device devices[GPUS], instances[GPUS][8];
static int told[GPUS];

static void load(void)
{
    const char *path = getenv("FAKE_NVML_FILE");
    struct stat now;
    FILE *file;
    if (!path || stat(path, &now) != 0)
        return;
    if (now.st_size == read_size && now.st_mtim.tv_sec == read_at.tv_sec && now.st_mtim.tv_nsec == read_at.tv_nsec)
        return;
    if (!(file = fopen(path, "r")))
        return;
    line_count = 0;
    while (line_count < KEYS && fscanf(file, "%95s %95s", lines[line_count].key, lines[line_count].text) == 2) {
        lines[line_count].number = strtoll(lines[line_count].text, NULL, 0);
        line_count++;
    }
    fclose(file);
    read_at = now.st_mtim;
    read_size = now.st_size;
}

static int find(const char *key)
{
    for (int i = line_count - 1; i >= 0; i--)
        if (strcmp(lines[i].key, key) == 0)
            return i;
    return -1;
}

/* gpu.<index>.<name>, else <name>, else the fallback */
static long long number(Device *device, const char *name, long long fallback)
{
    char key[KEY_LENGTH];
    int at = -1;
    load();
    if (device) {
        snprintf(key, sizeof key, "gpu.%u.%s", device->index, name);
        at = find(key);
    }
    if (at < 0)
        at = find(name);
    return at < 0 ? fallback : lines[at].number;
}

static int fault(Device *device, const char *function)
{
    char key[KEY_LENGTH];
    snprintf(key, sizeof key, "hang.%s", function);
    while (number(device, key, 0))
        usleep(20000);
    if (device && number(device, "lost", 0))
        return LOST;
    snprintf(key, sizeof key, "error.%s", function);
    return (int)number(device, key, SUCCESS);
}

#define CHECK(device)                                                                                                  \
    do {                                                                                                               \
        int code_ = fault(device, __func__);                                                                           \
        if (code_)                                                                                                     \
            return code_;                                                                                              \
    } while (0)
#define UINT(function, name, value)                                                                                    \
    int function(Device *device, uint *out) { CHECK(device); *out = (uint)number(device, name, value); return SUCCESS; }
#define UINT_OF(function, name, value)                                                                                 \
    int function(Device *device, uint kind, uint *out)                                                                 \
    { char key[KEY_LENGTH]; CHECK(device); snprintf(key, sizeof key, name ".%u", kind);                                 \
      *out = (uint)number(device, key, value); return SUCCESS; }
#define STRING(function, format)                                                                                       \
    int function(Device *device, char *out, uint length)                                                               \
    { CHECK(device); snprintf(out, length, format, device->index); return SUCCESS; }
#define PAIR(function, name, first, second)                                                                            \
    int function(Device *device, uint *a, uint *b)                                                                     \
    { CHECK(device); *a = (uint)number(device, name ".0", first); *b = (uint)number(device, name ".1", second);         \
      return SUCCESS; }

int nvmlInitWithFlags(uint flags) { (void)flags; CHECK(NULL); return SUCCESS; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == LOST ? "GPU is lost" : code == 999 ? "Unknown Error" : "an error"; }
int nvmlSystemGetDriverVersion(char *out, uint length) { snprintf(out, length, "580.95.05"); return SUCCESS; }
int nvmlSystemGetNVMLVersion(char *out, uint length) { snprintf(out, length, "13.580.95.05"); return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = 13000; return SUCCESS; }

int nvmlDeviceGetCount_v2(uint *out) { CHECK(NULL); *out = (uint)number(NULL, "gpus", 2); return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(uint index, Device **out)
{
    if (index >= GPUS || index >= (uint)number(NULL, "gpus", 2))
        return INVALID_ARGUMENT;
    devices[index].index = index;
    CHECK(&devices[index]);
    *out = &devices[index];
    return SUCCESS;
}
int nvmlDeviceGetIndex(Device *device, uint *out) { *out = device->index; return SUCCESS; }

int nvmlDeviceGetName(Device *device, char *out, uint length)
{
    CHECK(device);
    snprintf(out, length, device->mig ? "NVIDIA A100-SXM4-80GB MIG 3g.40gb" : "NVIDIA A100-SXM4-80GB");
    return SUCCESS;
}
int nvmlDeviceGetUUID(Device *device, char *out, uint length)
{
    CHECK(device);
    snprintf(out, length, "%s-%08x-0000-0000-0000-00000000000%d", device->mig ? "MIG" : "GPU", device->index, device->mig);
    return SUCCESS;
}
STRING(nvmlDeviceGetSerial, "165000000%04u")
STRING(nvmlDeviceGetBoardPartNumber, "692-2G506-%04u")
STRING(nvmlDeviceGetVbiosVersion, "92.00.36.00.%02u")
UINT(nvmlDeviceGetMinorNumber, "minor", device->index)
UINT(nvmlDeviceGetArchitecture, "architecture", 7)

typedef struct { char legacy[16]; uint domain, bus, device, pci_device_id, pci_sub_system_id; char bus_id[32]; } Pci;
int nvmlDeviceGetPciInfo_v3(Device *device, Pci *out)
{
    CHECK(device);
    memset(out, 0, sizeof *out);
    out->bus = 0x10 + device->index;
    out->pci_device_id = 0x20B210DE;
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", out->bus);
    return SUCCESS;
}

typedef struct { ulong64 total, free, used; } Memory;
typedef struct { uint version; ulong64 total, reserved, free, used; } MemoryV2;
int nvmlDeviceGetMemoryInfo(Device *device, Memory *out)
{
    CHECK(device);
    out->total = (ulong64)number(device, "memory_total", 85899345920);
    out->used = (ulong64)number(device, "memory_used", 1073741824);
    out->free = out->total - out->used;
    return SUCCESS;
}
#ifndef NO_nvmlDeviceGetMemoryInfo_v2
int nvmlDeviceGetMemoryInfo_v2(Device *device, MemoryV2 *out)
{
    CHECK(device);
    out->total = (ulong64)number(device, "memory_total", 85899345920);
    out->used = (ulong64)number(device, "memory_used", 1073741824);
    out->reserved = (ulong64)number(device, "memory_reserved", 536870912);
    out->free = out->total - out->used - out->reserved;
    return SUCCESS;
}
#endif
typedef struct { ulong64 total, free, used; } Bar1;
int nvmlDeviceGetBAR1MemoryInfo(Device *device, Bar1 *out)
{
    CHECK(device);
    out->total = 137438953472;
    out->used = 4194304;
    out->free = out->total - out->used;
    return SUCCESS;
}

PAIR(nvmlDeviceGetUtilizationRates_parts, "utilization", 42, 17)
typedef struct { uint gpu, memory; } Rates;
int nvmlDeviceGetUtilizationRates(Device *device, Rates *out)
{
    CHECK(device);
    return nvmlDeviceGetUtilizationRates_parts(device, &out->gpu, &out->memory);
}
PAIR(nvmlDeviceGetEncoderUtilization, "encoder", 0, 16666)
PAIR(nvmlDeviceGetDecoderUtilization, "decoder", 0, 16666)
UINT(nvmlDeviceGetPowerUsage, "power_mw", 250000)
UINT(nvmlDeviceGetEnforcedPowerLimit, "power_limit_mw", 400000)
UINT(nvmlDeviceGetPowerManagementDefaultLimit, "power_default_mw", 400000)
PAIR(nvmlDeviceGetPowerManagementLimitConstraints, "power_range", 100000, 400000)
int nvmlDeviceGetTotalEnergyConsumption(Device *device, ulong64 *out) { CHECK(device); *out = 123456789; return SUCCESS; }
UINT_OF(nvmlDeviceGetTemperature, "temperature", 55)
UINT_OF(nvmlDeviceGetTemperatureThreshold, "threshold", 85 + kind)
UINT_OF(nvmlDeviceGetClockInfo, "clock", 1000 + kind)
UINT_OF(nvmlDeviceGetMaxClockInfo, "max_clock", 1400 + kind)
UINT(nvmlDeviceGetPerformanceState, "pstate", 0)
#ifndef NO_nvmlDeviceGetCurrentClocksEventReasons
int nvmlDeviceGetCurrentClocksEventReasons(Device *device, ulong64 *out)
{ CHECK(device); *out = (ulong64)number(device, "reasons", 4); return SUCCESS; }
#endif
int nvmlDeviceGetCurrentClocksThrottleReasons(Device *device, ulong64 *out)
{ CHECK(device); *out = (ulong64)number(device, "reasons", 4); return SUCCESS; }
PAIR(nvmlDeviceGetEccMode, "ecc_mode", 1, 1)
int nvmlDeviceGetTotalEccErrors(Device *device, uint kind, uint span, ulong64 *out)
{
    char key[KEY_LENGTH];
    CHECK(device);
    snprintf(key, sizeof key, "ecc.%u.%u", kind, span);
    *out = (ulong64)number(device, key, 0);
    return SUCCESS;
}
int nvmlDeviceGetRemappedRows(Device *device, uint *corrected, uint *uncorrected, uint *pending, uint *failed)
{
    CHECK(device);
    *corrected = (uint)number(device, "remap.corrected", 0);
    *uncorrected = (uint)number(device, "remap.uncorrected", 0);
    *pending = (uint)number(device, "remap.pending", 0);
    *failed = (uint)number(device, "remap.failed", 0);
    return SUCCESS;
}
UINT(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_gen", 4)
UINT(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width", 16)
UINT(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_max_gen", 4)
UINT(nvmlDeviceGetMaxPcieLinkWidth, "pcie_max_width", 16)
UINT(nvmlDeviceGetPcieReplayCounter, "pcie_replay", 0)
UINT(nvmlDeviceGetPersistenceMode, "persistence", 1)
UINT(nvmlDeviceGetComputeMode, "compute_mode", 0)
UINT(nvmlDeviceGetVirtualizationMode, "virtualization", 0)
UINT(nvmlDeviceGetNumaNodeId, "numa", 0)
int nvmlDeviceGetCpuAffinity(Device *device, uint words, unsigned long *out)
{ CHECK(device); memset(out, 0, words * sizeof *out); out[0] = 0xF0F; return SUCCESS; }

int nvmlDeviceGetTopologyCommonAncestor(Device *device, Device *other, uint *out)
{ (void)other; CHECK(device); *out = (uint)number(device, "ancestor", 50); return SUCCESS; }

int nvmlDeviceGetNvLinkState(Device *device, uint link, uint *out)
{
    char key[KEY_LENGTH];
    CHECK(device);
    if (link >= (uint)number(device, "links", 4))
        return INVALID_ARGUMENT;
    snprintf(key, sizeof key, "link.%u.state", link);
    *out = (uint)number(device, key, 1);
    return SUCCESS;
}
UINT_OF(nvmlDeviceGetNvLinkVersion, "link_version", 3)
UINT_OF(nvmlDeviceGetNvLinkRemoteDeviceType, "link_remote", 2)
int nvmlDeviceGetNvLinkErrorCounter(Device *device, uint link, uint counter, ulong64 *out)
{
    char key[KEY_LENGTH];
    CHECK(device);
    snprintf(key, sizeof key, "link.%u.errors.%u", link, counter);
    *out = (ulong64)number(device, key, 0);
    return SUCCESS;
}

typedef struct { uint pid; ulong64 memory; uint gi, ci; } Process;
int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, uint *count, Process *out)
{
    char key[KEY_LENGTH];
    uint wanted;
    CHECK(device);
    wanted = (uint)number(device, "processes", 1);
    if (*count < wanted || !out) {
        *count = wanted;
        return wanted ? INSUFFICIENT_SIZE : SUCCESS;
    }
    for (uint i = 0; i < wanted; i++) {
        snprintf(key, sizeof key, "pid.%u", i);
        out[i].pid = (uint)number(device, key, number(device, "pid", getpid()) + i);
        out[i].memory = i ? ~0ULL : 1073741824;
        out[i].gi = out[i].ci = 0xFFFFFFFF;
    }
    *count = wanted;
    return SUCCESS;
}

PAIR(nvmlDeviceGetMigMode_parts, "mig", 0, 0)
int nvmlDeviceGetMigMode(Device *device, uint *current, uint *pending)
{ CHECK(device); return nvmlDeviceGetMigMode_parts(device, current, pending); }
UINT(nvmlDeviceGetMaxMigDeviceCount, "mig_max", 7)
int nvmlDeviceGetMigDeviceHandleByIndex(Device *device, uint index, Device **out)
{
    CHECK(device);
    /* The slots 1 and 3 are taken: the list has holes. */
    if (index != 1 && index != 3)
        return NOT_FOUND;
    instances[device->index][index].index = device->index;
    instances[device->index][index].mig = (int)index;
    *out = &instances[device->index][index];
    return SUCCESS;
}
int nvmlDeviceGetGpuInstanceId(Device *device, uint *out) { *out = (uint)device->mig; return SUCCESS; }
int nvmlDeviceGetComputeInstanceId(Device *device, uint *out) { (void)device; *out = 0; return SUCCESS; }
int nvmlDeviceGetGpuInstanceById(Device *device, uint id, Device **out)
{ CHECK(device); *out = &instances[device->index][id]; return SUCCESS; }
typedef struct { Device *device; uint id, profile, start, size; } InstanceInfo;
int nvmlGpuInstanceGetInfo(Device *instance, InstanceInfo *out)
{
    out->device = &devices[instance->index];
    out->id = (uint)instance->mig;
    out->profile = 2;
    out->start = instance->mig == 1 ? 0 : 4;
    out->size = 4;
    return SUCCESS;
}

typedef struct { uint field, scope; long long at, latency; uint type; int result; ulong64 value; } FieldValue;
int nvmlDeviceGetFieldValues(Device *device, int count, FieldValue *values)
{
    CHECK(device);
    for (int i = 0; i < count; i++) {
        char key[KEY_LENGTH];
        long long value;
        snprintf(key, sizeof key, "field.%u", values[i].field);
        value = number(device, key, -1);
        values[i].result = value < 0 ? NOT_SUPPORTED : SUCCESS;
        values[i].type = 1;
        values[i].value = value < 0 ? 0 : (ulong64)value;
    }
    return SUCCESS;
}

typedef struct { Device *device; ulong64 type, data; uint gi, ci; } Event;
int nvmlEventSetCreate(void **out) { *out = devices; return SUCCESS; }
int nvmlDeviceRegisterEvents(Device *device, ulong64 kinds, void *set) { (void)kinds; (void)set; CHECK(device); return SUCCESS; }
int nvmlEventSetFree(void *set) { (void)set; return SUCCESS; }
int nvmlEventSetWait_v2(void *set, Event *out, uint milliseconds)
{
    (void)set;
    for (uint waited = 0;; waited += 10) {
        for (uint i = 0; i < GPUS; i++) {
            char key[KEY_LENGTH];
            int code;
            snprintf(key, sizeof key, "xid.%u", i);
            code = (int)number(NULL, key, 0);
            if (code != told[i]) {
                told[i] = code;
                if (code) {
                    memset(out, 0, sizeof *out);
                    out->device = &devices[i];
                    out->type = 8;
                    out->data = (ulong64)code;
                    return SUCCESS;
                }
            }
        }
        if (waited >= milliseconds)
            return TIMEOUT;
        usleep(10000);
    }
}
