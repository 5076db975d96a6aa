/* An external TFLite delegate for tests: it takes the last steps of a model and computes them itself, or it fails in
   one of the ways in which vendors' libraries do.

   It stands on the C interface that both runtimes keep stable.  Their wheels bring no headers, so the few structures
   that are needed are written down here, with the members in their order; what lies behind the last one that is used
   is left out, or is room.

   Built with EDGETPU it takes models that were compiled for an Edge TPU, as libedgetpu does: their one operator gives
   bytes of the picture in another order.

   Options: `fault` names a way to fail, `at` the run at which it begins (from 1), `nap` how many seconds a hang lasts,
   `file` a path: while nothing is there, the device is gone. */

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
  int type;
  void *data;
  IntArray *dims;
  float scale;
  int32_t zero_point;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  Delegate *delegate;
  int buffer_handle;
  bool data_is_stale, is_variable;
  struct { int type; void *params; } quantization;
  const void *sparsity;
  const IntArray *dims_signature;
} Tensor;

typedef struct {
  IntArray *inputs, *outputs, *intermediates, *temporaries;
  void *user_data, *builtin_data;
  const void *custom_initial_data;
  int custom_initial_data_size;
  Delegate *delegate;
  bool might_have_side_effect;
} Node;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *);
  int (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *later[12]; /* it is handed over by value: newer runtimes read further than older ones */
} Registration;

struct Context {
  size_t n_tensors;
  int (*get_execution_plan)(Context *, IntArray **);
  Tensor *tensors;
  void *impl;
  int (*resize_tensor)(Context *, Tensor *, IntArray *);
  void (*report_error)(Context *, const char *, ...);
  int (*add_tensors)(Context *, int, int *);
  int (*get_node)(Context *, int, Node **, Registration **);
  int (*replace_nodes)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
  void *data;
  int (*prepare)(Context *, Delegate *);
  int (*copy_from)(Context *, Delegate *, int, Tensor *);
  int (*copy_to)(Context *, Delegate *, int, Tensor *);
  void (*free_handle)(Context *, Delegate *, int *);
  int64_t flags;
  void *opaque;
};

typedef struct { Delegate *delegate; IntArray *nodes, *inputs, *outputs; } Params;

enum { FLOAT32 = 1, UINT8 = 3, INT8 = 9 };
enum { AVERAGE_POOL_2D = 1, MEAN = 40, NEG = 59 };

typedef struct {
  char fault[32], file[512];
  int at, runs;
  double nap;
} Settings;

typedef struct { Settings *settings; int in, out, signs, average, compiled; } Kernel;

static bool gone(const Settings *s) { return s->file[0] && access(s->file, F_OK) != 0; }
static bool is(const Settings *s, const char *fault) { return strcmp(s->fault, fault) == 0; }

static void flood(void) {
  static char line[1024];
  memset(line, 'x', sizeof line - 1);
  for (int i = 0; i < 10 * 1024; i++) {
    ssize_t written = write(2, line, sizeof line);
    (void)written;
  }
}

/* What may go wrong anywhere. */
static void misbehave(Settings *s, const char *where) {
  char name[64];
  snprintf(name, sizeof name, "crash-at-%s", where);
  if (is(s, name)) raise(SIGSEGV);
  snprintf(name, sizeof name, "hang-at-%s", where);
  if (is(s, name)) usleep((useconds_t)(1e6 * s->nap));
  snprintf(name, sizeof name, "exit-at-%s", where);
  if (is(s, name)) exit(3);
  snprintf(name, sizeof name, "flood-at-%s", where);
  if (is(s, name)) flood();
  snprintf(name, sizeof name, "greedy-at-%s", where);
  if (is(s, name)) {
    volatile size_t bytes = (size_t)3 << 30; /* volatile, because gcc for 32 bits sees that it is too much */
    void *much = malloc(bytes); /* as operator new does it in C++ */
    if (!much) { fputs("terminate called after throwing an instance of 'std::bad_alloc'\n", stderr); abort(); }
    free(much);
  }
}

static double value(const Tensor *t, long i) {
  if (t->type == FLOAT32) return ((float *)t->data)[i];
  return t->scale * ((t->type == UINT8 ? (int)((uint8_t *)t->data)[i] : (int)((int8_t *)t->data)[i]) - t->zero_point);
}

static void store(Tensor *t, long i, double x) {
  if (t->type == FLOAT32) { ((float *)t->data)[i] = (float)x; return; }
  double steps = x / t->scale;
  int low = t->type == UINT8 ? 0 : -128, q = (int)(steps < 0 ? steps - .5 : steps + .5) + t->zero_point;
  q = q < low ? low : q > low + 255 ? low + 255 : q;
  if (t->type == UINT8) ((uint8_t *)t->data)[i] = (uint8_t)q; else ((int8_t *)t->data)[i] = (int8_t)q;
}

static bool compiled(const Registration *r) {
#ifdef EDGETPU
  return r->custom_name && !strcmp(r->custom_name, "edgetpu-custom-op");
#else
  (void)r;
  return false;
#endif
}

static void *kernel_init(Context *c, const char *buffer, size_t length) {
  (void)length;
  const Params *p = (const Params *)buffer;
  Kernel *k = calloc(1, sizeof *k);
  k->settings = p->delegate->data;
  for (int i = 0; i < p->nodes->size; i++) {
    Node *n;
    Registration *r;
    c->get_node(c, p->nodes->data[i], &n, &r);
    if (i == 0) k->in = n->inputs->data[0];
    k->out = n->outputs->data[0];
    if (r->builtin_code == NEG) k->signs++; else k->average = 1;
    k->compiled = compiled(r);
  }
  return k;
}

static void kernel_free(Context *c, void *kernel) { (void)c; free(kernel); }
static int kernel_prepare(Context *c, Node *n) { (void)c; (void)n; return 0; }

static int kernel_run(Context *c, Node *n) {
  Kernel *k = n->user_data;
  Settings *s = k->settings;
  const Tensor *in = &c->tensors[k->in];
  Tensor *out = &c->tensors[k->out];
  if (gone(s)) { c->report_error(c, "the test device is gone"); return 1; }
  if (++s->runs >= s->at) {
    misbehave(s, "run");
    if (is(s, "fail-at-run")) { c->report_error(c, "the test device is tired"); return 1; }
    if (is(s, "leak")) { void *lost = malloc(8 << 20); if (lost) memset(lost, 1, 8 << 20); }
  }
  if (k->compiled) {
    for (size_t i = 0; i < out->bytes; i++) ((uint8_t *)out->data)[i] = ((uint8_t *)in->data)[i * 97 % in->bytes];
    return 0;
  }
  double sign = k->signs % 2 ? -1 : 1;
  if (!k->average) {
    long size = 1;
    for (int i = 0; i < in->dims->size; i++) size *= in->dims->data[i];
    for (long i = 0; i < size; i++) store(out, i, sign * value(in, i));
    return 0;
  }
  int channels = in->dims->data[3];
  long pixels = (long)in->dims->data[1] * in->dims->data[2];
  for (int channel = 0; channel < channels; channel++) {
    double sum = 0;
    for (long i = 0; i < pixels; i++) sum += value(in, i * channels + channel);
    double x = sign * sum / (double)pixels;
    bool wrong = is(s, "wrong-numbers") && s->runs >= s->at;
    store(out, channel, wrong ? (channel % 2 ? 0 : 40 - x) : x);
  }
  return 0;
}

/* Whether a node is one of those it can do: a change of sign, or the mean over the whole picture. */
static bool supported(Context *c, const Node *n, const Registration *r) {
  if (compiled(r)) return true;
  const Tensor *in = &c->tensors[n->inputs->data[0]], *out = &c->tensors[n->outputs->data[0]];
  if (in->type != FLOAT32 && in->type != UINT8 && in->type != INT8) return false;
  if (r->builtin_code == NEG) return in->type == FLOAT32;
  if (r->builtin_code != MEAN && r->builtin_code != AVERAGE_POOL_2D) return false;
  if (in->dims->size != 4 || in->dims->data[0] != 1) return false;
  long size = 1;
  for (int i = 0; i < out->dims->size; i++) size *= out->dims->data[i];
  return size == in->dims->data[3];
}

static int delegate_prepare(Context *c, Delegate *d) {
  Settings *s = d->data;
  IntArray *plan;
  misbehave(s, "prepare");
  if (c->get_execution_plan(c, &plan)) return 1;
  IntArray *take = malloc(sizeof(int) * (size_t)(1 + plan->size));
  take->size = 0;
  for (int i = 0; i < plan->size; i++) {
    Node *n;
    Registration *r;
    if (c->get_node(c, plan->data[i], &n, &r)) return 1;
    if (!is(s, "takes-nothing") && supported(c, n, r)) take->data[take->size++] = plan->data[i];
  }
  Registration kernel = {.init = kernel_init, .free = kernel_free, .prepare = kernel_prepare, .invoke = kernel_run,
                         .custom_name = "TestDelegate", .version = 1};
  int status = take->size ? c->replace_nodes(c, kernel, take, d) : 0;
  free(take);
  return status;
}

#ifdef CRASH_AT_LOAD
__attribute__((constructor)) static void loaded(void) { raise(SIGSEGV); }
#endif

#ifdef WITHOUT_CREATE
#define tflite_plugin_create_delegate something_else
#endif

Delegate *tflite_plugin_create_delegate(const char *const *keys, const char *const *values, size_t count,
                                        void (*report_error)(const char *)) {
  Settings *s = calloc(1, sizeof *s);
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(keys[i], "fault")) snprintf(s->fault, sizeof s->fault, "%s", values[i]);
    if (!strcmp(keys[i], "file")) snprintf(s->file, sizeof s->file, "%s", values[i]);
    if (!strcmp(keys[i], "at")) s->at = atoi(values[i]);
    if (!strcmp(keys[i], "nap")) s->nap = atof(values[i]);
  }
  misbehave(s, "create");
  if (gone(s) || is(s, "refuse")) {
    report_error(gone(s) ? "the test device is gone" : "the test device is of another generation");
    return NULL;
  }
  if (is(s, "refuse-silently")) return NULL;
  Delegate *d = calloc(1, sizeof *d);
  d->data = s;
  d->prepare = delegate_prepare;
#ifdef EDGETPU
  d->flags = 1; /* dynamic tensors are fine: else the runtime prepares every operator first, and it has no such one */
#endif
  return d;
}

void tflite_plugin_destroy_delegate(Delegate *d) {
  if (d) free(d->data);
  free(d);
}
