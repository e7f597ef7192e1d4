#include "utf8.h"

#include <string.h>

#if defined(__x86_64__)

#include <immintrin.h>

/* The faults of two bytes in a row, as Keiser and Lemire name them in "Validating
 * UTF-8 In Less Than One Instruction Per Byte" (2021). Each of the tables says
 * which faults its half of a byte allows; what all three allow is there. */
enum {
  TOO_SHORT = 1 << 0,    /* a first byte and no byte that follows */
  TOO_LONG = 1 << 1,     /* ASCII and a byte that follows */
  OVERLONG_3 = 1 << 2,   /* E0 80..9F */
  TOO_LARGE = 1 << 3,    /* F4 90..BF, F5..FF 90..BF */
  SURROGATE = 1 << 4,    /* ED A0..BF */
  OVERLONG_2 = 1 << 5,   /* C0..C1 */
  OVERLONG_4 = 1 << 6,   /* F0 80..8F, and F5..FF 80..8F */
  TWO_FOLLOW = 1 << 7,   /* two bytes that follow: a fault unless a rune is so long */
  ANY = TOO_SHORT | TOO_LONG | TWO_FOLLOW,
  LARGE = ANY | TOO_LARGE | OVERLONG_4,
  FOLLOWS = TOO_LONG | OVERLONG_2 | TWO_FOLLOW
};

#define SSSE3 __attribute__((target("ssse3")))

SSSE3 static __m128i faults(__m128i now, __m128i before) {
  const __m128i first_high = _mm_setr_epi8(
      TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG,
      (char)TWO_FOLLOW, (char)TWO_FOLLOW, (char)TWO_FOLLOW, (char)TWO_FOLLOW,
      TOO_SHORT | OVERLONG_2, TOO_SHORT, TOO_SHORT | OVERLONG_3 | SURROGATE,
      TOO_SHORT | TOO_LARGE | OVERLONG_4);
  const __m128i first_low = _mm_setr_epi8(
      (char)(ANY | OVERLONG_3 | OVERLONG_2 | OVERLONG_4), (char)(ANY | OVERLONG_2), (char)ANY,
      (char)ANY, (char)(ANY | TOO_LARGE), (char)LARGE, (char)LARGE, (char)LARGE, (char)LARGE,
      (char)LARGE, (char)LARGE, (char)LARGE, (char)LARGE, (char)(LARGE | SURROGATE), (char)LARGE,
      (char)LARGE);
  const __m128i second_high = _mm_setr_epi8(
      TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
      (char)(FOLLOWS | OVERLONG_3 | OVERLONG_4), (char)(FOLLOWS | OVERLONG_3 | TOO_LARGE),
      (char)(FOLLOWS | SURROGATE | TOO_LARGE), (char)(FOLLOWS | SURROGATE | TOO_LARGE),
      TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT);
  const __m128i low = _mm_set1_epi8(0x0F);
  __m128i one = _mm_alignr_epi8(now, before, 15);
  __m128i two = _mm_alignr_epi8(now, before, 14);
  __m128i three = _mm_alignr_epi8(now, before, 13);
  __m128i pairs = _mm_and_si128(
      _mm_and_si128(_mm_shuffle_epi8(first_high, _mm_and_si128(_mm_srli_epi16(one, 4), low)),
                    _mm_shuffle_epi8(first_low, _mm_and_si128(one, low))),
      _mm_shuffle_epi8(second_high, _mm_and_si128(_mm_srli_epi16(now, 4), low)));
  /* The third and the fourth byte of a rune must follow one that follows. */
  __m128i third = _mm_subs_epu8(two, _mm_set1_epi8(0xE0 - 0x80));
  __m128i fourth = _mm_subs_epu8(three, _mm_set1_epi8(0xF0 - 0x80));
  __m128i must = _mm_and_si128(_mm_or_si128(third, fourth), _mm_set1_epi8((char)0x80));
  return _mm_xor_si128(must, pairs);
}

SSSE3 static int valid(const unsigned char *text, int64_t size) {
  __m128i wrong = _mm_setzero_si128();
  __m128i before = _mm_setzero_si128();
  for (; size >= 16; text += 16, size -= 16) {
    __m128i now = _mm_loadu_si128((const __m128i *)text);
    wrong = _mm_or_si128(wrong, faults(now, before));
    before = now;
  }
  unsigned char rest[16] = {0}; /* an end within a rune is seen by the zero behind it */
  memcpy(rest, text, (size_t)size);
  wrong = _mm_or_si128(wrong, faults(_mm_loadu_si128((const __m128i *)rest), before));
  return _mm_movemask_epi8(_mm_cmpeq_epi8(wrong, _mm_setzero_si128())) == 0xFFFF;
}

int utf8_valid(const unsigned char *text, int64_t size) {
  return __builtin_cpu_supports("ssse3") ? valid(text, size) : -1;
}

#else

int utf8_valid(const unsigned char *text, int64_t size) {
  (void)text;
  (void)size;
  return -1;
}

#endif
