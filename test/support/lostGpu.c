/*
 * A Vulkan layer that loses the GPU. Once the file that LAB_TEST_LOSE_GPU names holds the name of a call (create, submit or wait), that call
 * returns VK_ERROR_DEVICE_LOST, and from then on every call below does, as a driver's do after a reset. With submit-hangs or wait-hangs in it
 * nothing is lost, but as long as it is there no work is taken, or none is ever told to have ended.
 * Declared by hand, as the Vulkan specification and the loader's interface for layers (version 2) have it, so that no headers are needed.
 */
#define _DEFAULT_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOT_READY = 1, TIMED_OUT = 2, INITIALIZATION_FAILED = -3, DEVICE_LOST = -4 };
enum { LOOK_AGAIN_US = 10000 };
enum { LOADER_INSTANCE_CREATE_INFO = 47, LOADER_DEVICE_CREATE_INFO = 48, LAYER_LINK_INFO = 0 };

typedef void (*Function)(void);
typedef Function (*GetProcAddr)(void *, const char *);
/* VkLayerInstanceLink and VkLayerDeviceLink. */
struct Link { struct Link *next; GetProcAddr instance_functions, own_functions; };
/* How every structure begins; `function` and `link` are there only in the loader's. */
struct Info { int32_t type; struct Info *next; int32_t function; struct Link *link; };
/* VkNegotiateLayerInterface. */
struct Negotiation { int32_t type; void *next; uint32_t version; GetProcAddr instance_functions, device_functions, physical_functions; };

typedef int32_t (*CreateInstance)(struct Info *, const void *, void **);
typedef int32_t (*CreateDevice)(void *, struct Info *, const void *, void **);
typedef int32_t (*Submit)(void *, uint32_t, const void *, uint64_t);
typedef int32_t (*WaitForFences)(void *, uint32_t, const uint64_t *, uint32_t, uint64_t);
typedef int32_t (*FenceStatus)(void *, uint64_t);
typedef int32_t (*WaitIdle)(void *);
typedef void (*DestroyDevice)(void *, const void *);

/* What is below this layer. WebGPU makes one device. */
static GetProcAddr instance_functions, device_functions;
static Submit submit_below, submit2_below;
static WaitForFences wait_below;
static FenceStatus status_below;
static WaitIdle queue_idle_below, device_idle_below;
static DestroyDevice destroy_below;
/* Held in every call that uses a queue, for the wait for the whole device may not go beside one; `made` and `lost` are read and written in it. */
static pthread_mutex_t queues = PTHREAD_MUTEX_INITIALIZER;
static void *made;
static int lost;

static int is_told(const char *call) {
  const char *file = getenv("LAB_TEST_LOSE_GPU");
  char told[32];
  FILE *open = file ? fopen(file, "r") : NULL;
  if (!open) return 0;
  char *line = fgets(told, sizeof told, open);
  fclose(open);
  return line && strcmp(call, line) == 0;
}

/* With `queues` held. */
static int is_lost(const char *call) {
  if (!lost && is_told(call)) {
    /* A GPU that is gone computes no longer; what this one has in hand is let finish, for its memory is freed next. */
    if (made) device_idle_below(made);
    lost = 1;
  }
  return lost;
}

/* For calls that use no queue: others go on while they wait. */
static int was_lost(const char *call) {
  pthread_mutex_lock(&queues);
  int answer = is_lost(call);
  pthread_mutex_unlock(&queues);
  return answer;
}

#define WITH_QUEUES(call, below) do { \
  pthread_mutex_lock(&queues); \
  while (is_told(call "-hangs")) usleep(LOOK_AGAIN_US); \
  int32_t result = is_lost(call) ? DEVICE_LOST : below; \
  pthread_mutex_unlock(&queues); \
  return result; \
} while (0)

static int32_t submit(void *queue, uint32_t count, const void *batches, uint64_t fence) { WITH_QUEUES("submit", submit_below(queue, count, batches, fence)); }
static int32_t submit2(void *queue, uint32_t count, const void *batches, uint64_t fence) { WITH_QUEUES("submit", submit2_below(queue, count, batches, fence)); }
static int32_t queue_idle(void *queue) { WITH_QUEUES("wait", queue_idle_below(queue)); }
static int32_t device_idle(void *device) { WITH_QUEUES("wait", device_idle_below(device)); }

/* `limit` is in nanoseconds. */
static int32_t wait_for_fences(void *device, uint32_t count, const uint64_t *fences, uint32_t all, uint64_t limit) {
  for (uint64_t waited = 0; is_told("wait-hangs"); waited += LOOK_AGAIN_US * 1000ull) {
    if (waited >= limit) return TIMED_OUT;
    usleep(LOOK_AGAIN_US);
  }
  return was_lost("wait") ? DEVICE_LOST : wait_below(device, count, fences, all, limit);
}
static int32_t fence_status(void *device, uint64_t fence) { return is_told("wait-hangs") ? NOT_READY : was_lost("wait") ? DEVICE_LOST : status_below(device, fence); }

static void destroy_device(void *device, const void *allocator) {
  pthread_mutex_lock(&queues);
  if (device == made) made = NULL;
  pthread_mutex_unlock(&queues);
  if (device) destroy_below(device, allocator);
}

/* The loader's link to what is below, moved on by one, as the layer below expects it. */
static struct Link *take_link(struct Info *info, int32_t type) {
  for (struct Info *at = info->next; at; at = at->next) {
    if (at->type != type || at->function != LAYER_LINK_INFO) continue;
    struct Link *link = at->link;
    at->link = link->next;
    return link;
  }
  return NULL;
}

static int32_t create_instance(struct Info *info, const void *allocator, void **instance) {
  struct Link *link = take_link(info, LOADER_INSTANCE_CREATE_INFO);
  if (!link) return INITIALIZATION_FAILED;
  instance_functions = link->instance_functions;
  return ((CreateInstance)instance_functions(NULL, "vkCreateInstance"))(info, allocator, instance);
}

static int32_t create_device(void *physical, struct Info *info, const void *allocator, void **device) {
  struct Link *link = take_link(info, LOADER_DEVICE_CREATE_INFO);
  if (!link) return INITIALIZATION_FAILED;
  if (was_lost("create")) return DEVICE_LOST;
  int32_t result = ((CreateDevice)link->instance_functions(NULL, "vkCreateDevice"))(physical, info, allocator, device);
  if (result != 0) return result;
  device_functions = link->own_functions;
  submit_below = (Submit)device_functions(*device, "vkQueueSubmit");
  submit2_below = (Submit)device_functions(*device, "vkQueueSubmit2");
  if (!submit2_below) submit2_below = (Submit)device_functions(*device, "vkQueueSubmit2KHR");
  wait_below = (WaitForFences)device_functions(*device, "vkWaitForFences");
  status_below = (FenceStatus)device_functions(*device, "vkGetFenceStatus");
  queue_idle_below = (WaitIdle)device_functions(*device, "vkQueueWaitIdle");
  device_idle_below = (WaitIdle)device_functions(*device, "vkDeviceWaitIdle");
  destroy_below = (DestroyDevice)device_functions(*device, "vkDestroyDevice");
  pthread_mutex_lock(&queues);
  made = *device;
  pthread_mutex_unlock(&queues);
  return 0;
}

static Function instance_function(void *instance, const char *name);
static Function device_function(void *device, const char *name);

static const struct { const char *name; Function function; } OWN[] = {
  { "vkGetInstanceProcAddr", (Function)instance_function }, { "vkCreateInstance", (Function)create_instance }, { "vkCreateDevice", (Function)create_device },
  { "vkGetDeviceProcAddr", (Function)device_function }, { "vkQueueSubmit", (Function)submit }, { "vkQueueSubmit2", (Function)submit2 }, { "vkQueueSubmit2KHR", (Function)submit2 },
  { "vkWaitForFences", (Function)wait_for_fences }, { "vkGetFenceStatus", (Function)fence_status }, { "vkQueueWaitIdle", (Function)queue_idle }, { "vkDeviceWaitIdle", (Function)device_idle },
  { "vkDestroyDevice", (Function)destroy_device },
};

static Function own(const char *name) {
  for (unsigned i = 0; i < sizeof OWN / sizeof *OWN; i++) if (strcmp(name, OWN[i].name) == 0) return OWN[i].function;
  return NULL;
}

static Function instance_function(void *instance, const char *name) {
  Function found = own(name);
  return found || !instance_functions ? found : instance_functions(instance, name);
}

static Function device_function(void *device, const char *name) {
  Function found = own(name), below = device_functions ? device_functions(device, name) : NULL;
  /* What the driver lacks, this layer lacks too. */
  return found && below ? found : below;
}

/* What the loader asks for first. */
__attribute__((visibility("default"))) int32_t vkNegotiateLoaderLayerInterfaceVersion(struct Negotiation *asked) {
  if (asked->version < 2) return INITIALIZATION_FAILED;
  *asked = (struct Negotiation){ asked->type, asked->next, 2, instance_function, device_function, NULL };
  return 0;
}
