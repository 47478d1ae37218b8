/* Runs a Caffe2 int8 net without Python, byte for byte as the exact runtime does.
 *
 * A plan is made by `caffe2-mobile compile NET -o PLAN`. It fits every machine: weights are packed for the processor
 * when it is opened. Functions that fail return NULL or nonzero, and caffe2_plan_error() says why, in this thread.
 */
#ifndef CAFFE2_PLAN_H
#define CAFFE2_PLAN_H

#include <stdint.h>

#if defined(_WIN32)
#define CAFFE2_PLAN_API __declspec(dllexport)
#else
#define CAFFE2_PLAN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct caffe2_plan caffe2_plan;

typedef enum { CAFFE2_FLOAT32 = 0, CAFFE2_UINT8 = 1 } caffe2_dtype;

/* What belongs to a plan, and lives as long. Images: float32 NCHW; quantized blobs: uint8 NHWC. */
typedef struct {
  const char* name;
  caffe2_dtype dtype;
  int32_t dims;
  const int64_t* shape;
  int64_t bytes;
  float scale; /* of uint8: real = scale * (byte - zero_point) */
  int32_t zero_point;
  /* The net's recorded preprocessing: pixels[256 * channel + p] is what a pixel of value p becomes. NULL for none. */
  const float* pixels;
} caffe2_tensor;

/* threads: 1 to 1024. */
CAFFE2_PLAN_API caffe2_plan* caffe2_plan_open(const char* path, int32_t threads);
CAFFE2_PLAN_API caffe2_plan* caffe2_plan_read(const void* content, int64_t bytes, int32_t threads);
CAFFE2_PLAN_API void caffe2_plan_close(caffe2_plan* plan);
CAFFE2_PLAN_API const char* caffe2_plan_error(void);

CAFFE2_PLAN_API const char* caffe2_plan_instruction_set(const caffe2_plan* plan);
/* The index-th, NULL behind the last one. */
CAFFE2_PLAN_API const caffe2_tensor* caffe2_plan_input(const caffe2_plan* plan, int32_t index);
CAFFE2_PLAN_API const caffe2_tensor* caffe2_plan_output(const caffe2_plan* plan, int32_t index);

/* inputs and outputs: one pointer for each tensor, in order, to its bytes. Calls from several threads take turns. */
CAFFE2_PLAN_API int32_t caffe2_plan_run(caffe2_plan* plan, const void* const* inputs, void* const* outputs);

#ifdef __cplusplus
}
#endif
#endif
