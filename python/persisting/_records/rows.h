/* SPDX-License-Identifier: Apache-2.0
 *
 * Records, which are dicts, from rows of Arrow arrays and back: the loops over values
 * of the types that most records have. What is here is said by _rows.pyi. */
#ifndef PERSISTING_ROWS_H
#define PERSISTING_ROWS_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

#include "persisting.h"

/* In rows_read.c. */
PyObject* rows_reader(PyObject* module, PyObject* schema);
PyObject* rows_read(PyObject* module, PyObject* const* arguments, Py_ssize_t count);

/* In rows_write.c. */
PyObject* rows_writer(PyObject* module, PyObject* const* arguments, Py_ssize_t count);
PyObject* rows_write(PyObject* module, PyObject* const* arguments, Py_ssize_t count);

/* In rows_cells.c. */
PyObject* rows_cells(PyObject* module, PyObject* const* arguments, Py_ssize_t count);
PyObject* rows_put(PyObject* module, PyObject* const* arguments, Py_ssize_t count);

/* Returns 0, or -1 with a TypeError where a function was not given so many arguments. */
int rows_expect(const char* function, Py_ssize_t count, Py_ssize_t wanted);

/* Returns memory of zeros, or NULL with a MemoryError. */
void* rows_zeroed(size_t count, size_t size);

#endif
