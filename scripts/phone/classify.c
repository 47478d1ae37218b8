/* Prints the class of an image: classify PLAN IMAGE
 * IMAGE holds the pixels of the net's crop, height x width x channels bytes, in the net's order of channels. */
#include <stdio.h>
#include <stdlib.h>

#include "caffe2_plan.h"

static int fail(const char* what) {
  fprintf(stderr, "classify: %s\n", what);
  return 2;
}

static float score(const caffe2_tensor* t, const void* data, int64_t i) {
  if (t->dtype == CAFFE2_FLOAT32) return ((const float*)data)[i];
  return t->scale * (float)(((const uint8_t*)data)[i] - t->zero_point);
}

int main(int argc, char** argv) {
  if (argc != 3) return fail("usage: classify PLAN IMAGE");
  caffe2_plan* plan = caffe2_plan_open(argv[1], 2);
  if (!plan) return fail(caffe2_plan_error());
  const caffe2_tensor* in = caffe2_plan_input(plan, 0);
  const caffe2_tensor* out = caffe2_plan_output(plan, 0);
  if (!in || !out || !in->pixels || in->dtype != CAFFE2_FLOAT32 || in->shape[0] != 1)
    return fail("the plan takes no single image");

  const int64_t channels = in->shape[1], pixels = in->shape[2] * in->shape[3];
  uint8_t* image = malloc((size_t)(channels * pixels));
  float* input = malloc((size_t)in->bytes);
  void* output = malloc((size_t)out->bytes);
  if (!image || !input || !output) return fail("not enough memory");
  FILE* file = fopen(argv[2], "rb");
  if (!file || fread(image, 1, (size_t)(channels * pixels), file) != (size_t)(channels * pixels) || fgetc(file) != EOF)
    return fail("IMAGE is not of the net's size");
  fclose(file);

  for (int64_t c = 0; c < channels; c++)
    for (int64_t i = 0; i < pixels; i++) input[c * pixels + i] = in->pixels[256 * c + image[i * channels + c]];
  const void* inputs[] = {input};
  void* outputs[] = {output};
  if (caffe2_plan_run(plan, inputs, outputs)) return fail(caffe2_plan_error());

  const int64_t classes = out->bytes / (out->dtype == CAFFE2_FLOAT32 ? 4 : 1);
  int64_t best = 0;
  for (int64_t i = 1; i < classes; i++)
    if (score(out, output, i) > score(out, output, best)) best = i;
  printf("%lld %.6f %s\n", (long long)best, score(out, output, best), caffe2_plan_instruction_set(plan));
  caffe2_plan_close(plan);
  free(image), free(input), free(output);
  return 0;
}
