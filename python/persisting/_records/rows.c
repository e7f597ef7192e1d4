/* SPDX-License-Identifier: Apache-2.0
 *
 * The module persisting._records._rows. */
#include "rows.h"

#include <stdlib.h>

int rows_expect(const char* function, Py_ssize_t count, Py_ssize_t wanted) {
  if (count == wanted) return 0;
  PyErr_Format(PyExc_TypeError, "%s: want %zd arguments, got %zd", function, wanted, count);
  return -1;
}

void* rows_zeroed(size_t count, size_t size) {
  void* memory = calloc(count ? count : 1, size);
  if (!memory) PyErr_NoMemory();
  return memory;
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef functions[] = {
    {"reader", rows_reader, METH_O, NULL},
    {"read", FAST(rows_read), METH_FASTCALL, NULL},
    {"writer", FAST(rows_writer), METH_FASTCALL, NULL},
    {"write", FAST(rows_write), METH_FASTCALL, NULL},
    {"cells", FAST(rows_cells), METH_FASTCALL, NULL},
    {"put", FAST(rows_put), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_rows",
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__rows(void) { return PyModuleDef_Init(&definition); }
