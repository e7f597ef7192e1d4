#ifndef PERSISTING_LOAD_H
#define PERSISTING_LOAD_H

/* Has the stand-ins of engine/lance/native_calls.c lead to the functions of a library. Returns the
 * name of one that it lacks, and then none may be called; NULL otherwise. */
const char *native_calls(void *library);

#endif
