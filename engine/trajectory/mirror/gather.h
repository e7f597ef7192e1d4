#ifndef PERSISTING_MIRROR_GATHER_H
#define PERSISTING_MIRROR_GATHER_H

#include <stdint.h>

/* Where a field is in a row, and where its values go, side by side. */
struct mirror_target {
  uint64_t into;
  int64_t offset;
  int64_t width;
};

/* Copies `fields` fields of `count` rows, which are at the addresses `rows`, each of `size` bytes. */
void mirror_gather(const uint64_t *rows, int64_t count, int64_t size, const struct mirror_target *targets,
                   int64_t fields);

/* Copies `count` values of `width` bytes that lie side by side to places `stride` bytes apart. */
void mirror_scatter(const uint8_t *values, int64_t count, int64_t width, uint8_t *into, int64_t stride);

#endif
