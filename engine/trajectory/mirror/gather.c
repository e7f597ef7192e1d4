#include "gather.h"

#include <string.h>

/* Rows whose memory is asked for before it is needed: each is a miss of the cache, and so they are missed at the same time. */
#define AHEAD 4
#define LINE 64

static void fetch(const uint8_t *row, int64_t size) {
  for (int64_t i = 0; i < size; i += LINE) {
    __builtin_prefetch(row + i);
  }
}

static void copy(uint8_t *to, const uint8_t *from, int64_t width) {
  switch (width) { /* known sizes, which are no calls */
    case 1:
      *to = *from;
      return;
    case 4:
      memcpy(to, from, 4);
      return;
    case 8:
      memcpy(to, from, 8);
      return;
    default:
      memcpy(to, from, (size_t)width);
  }
}

void mirror_gather(const uint64_t *rows, int64_t count, int64_t size, const struct mirror_target *targets,
                   int64_t fields) {
  for (int64_t i = 0; i < AHEAD && i < count; i++) {
    fetch((const uint8_t *)(uintptr_t)rows[i], size);
  }
  for (int64_t i = 0; i < count; i++) {
    if (i + AHEAD < count) {
      fetch((const uint8_t *)(uintptr_t)rows[i + AHEAD], size);
    }
    const uint8_t *row = (const uint8_t *)(uintptr_t)rows[i];
    for (int64_t f = 0; f < fields; f++) {
      const struct mirror_target *to = &targets[f];
      copy((uint8_t *)(uintptr_t)to->into + i * to->width, row + to->offset, to->width);
    }
  }
}

void mirror_scatter(const uint8_t *values, int64_t count, int64_t width, uint8_t *into, int64_t stride) {
  for (int64_t i = 0; i < count; i++) {
    copy(into + i * stride, values + i * width, width);
  }
}
