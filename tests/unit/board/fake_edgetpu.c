/* Stands in for libedgetpu.so.1: takes all operators of a file and computes nothing.

   Built with -DFAILURES=n it refuses so many times, and with -DVERSION=... it tells a
   version. The structures are those of tensorflow/lite/core/c/common.h, as far as they
   are used. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#ifdef LABEL
/* Kept in the file, where it is looked for. */
__attribute__((used)) const char label[] = LABEL;
#endif

#ifdef VERSION
const char *edgetpu_version(void) { return VERSION; }
#endif

#ifdef CRASH
__attribute__((constructor)) static void crash(void) { abort(); }
#endif

typedef struct { int size; int data[]; } Numbers;
typedef struct Context Context;
typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, void *);
  int (*invoke)(Context *, void *);
  const char *profiling;
  int builtin_code;
  const char *name;
  int version;
  void *others[8];
} Registration;
typedef struct Delegate {
  void *data;
  int (*prepare)(Context *, struct Delegate *);
  void *copies[3];
  long long flags;
  void *others[4];
} Delegate;
struct Context {
  size_t tensors_size;
  int (*plan)(Context *, Numbers **);
  void *tensors, *impl, *resize, *report, *add, *get_node;
  int (*replace)(Context *, Registration, const Numbers *, Delegate *);
};

static void *init(Context *c, const char *b, size_t n) { return NULL; }
static void release(Context *c, void *data) {}
static int nothing(Context *c, void *node) { return 0; }

static int prepare(Context *context, Delegate *delegate) {
  Registration kernel = {init, release, nothing, nothing, NULL, 0, "fake", 1, {NULL}};
  Numbers *all, *copy;
  if (context->plan(context, &all)) return 1;
  size_t size = sizeof(Numbers) + sizeof(int) * all->size;
  copy = malloc(size);
  memcpy(copy, all, size);
  int status = context->replace(context, kernel, copy, delegate);
  free(copy);
  return status;
}

#ifndef NO_PLUGIN
/* Tensors of any size, so that nothing is prepared before the operators are taken. */
static Delegate delegate = {NULL, prepare, {NULL}, 1, {NULL}};
int created;

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                        void (*report)(const char *)) {
#ifdef CRASH_AT_OPENING
  abort();
#endif
  if (created++ < FAILURES) return NULL;
#ifdef WANTED
  for (size_t i = 0; i < count; i++)
    if (!strcmp(keys[i], "device") && strcmp(values[i], WANTED)) return NULL;
#endif
  return &delegate;
}

void tflite_plugin_destroy_delegate(Delegate *given) {}
#endif
