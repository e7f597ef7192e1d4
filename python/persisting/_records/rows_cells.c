/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of one size each go into rows of cells that lie in memory of the caller: numbers and
 * arrays that are just of their column's type. What is any other way is left to the caller. */
#include <stdlib.h>
#include <string.h>

#include "rows.h"

/* The bytes of an object that has them side by side, or -1 with an exception. They are valid as
 * long as nothing else runs. Python's headers warn of it, and lose it with 3.13; its stable ABI
 * keeps it, and has what came after it from 3.11 on only. */
extern int PyObject_AsReadBuffer(PyObject* object, const void** bytes, Py_ssize_t* size);
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* What Python's own numbers go into. */
enum { INT64 = 'q', FLOAT64 = 'd', BOOL = '?' };

struct cell {
  PyObject *name, *dtype, *shape; /* of the plan's columns, as is `scalar`: a type of numbers */
  PyTypeObject* scalar;
  char* memory;
  Py_ssize_t size; /* of a value in bytes */
  int kind;        /* 0: of no number of Python */
};

struct cells {
  PyObject* columns; /* keeps what the cells point to */
  PyTypeObject* array;
  PyObject *dtype, *shape; /* the names of these attributes */
  Py_ssize_t count, rows;
  struct cell cell[];
};

/* What became of a value. */
enum { FAILED = -1, DONE = 0, UNFIT = 1 };

static const char CELLS[] = "persisting.cells";

static void cells_free(PyObject* capsule) {
  struct cells* cells = PyCapsule_GetPointer(capsule, CELLS);
  Py_XDECREF(cells->columns);
  Py_XDECREF((PyObject*)cells->array);
  Py_XDECREF(cells->dtype);
  Py_XDECREF(cells->shape);
  free(cells);
}

static int cell_plan(struct cell* cell, PyObject* column) {
  unsigned long long memory;
  if (!PyArg_ParseTuple(column, "UKniOOO", &cell->name, &memory, &cell->size, &cell->kind,
                        &cell->scalar, &cell->dtype, &cell->shape))
    return -1;
  cell->memory = (char*)(uintptr_t)memory;
  return 0;
}

PyObject* rows_cells(PyObject* module, PyObject* const* arguments, Py_ssize_t count) {
  (void)module;
  if (rows_expect("cells", count, 3)) return NULL;
  PyObject *array = arguments[0], *columns = arguments[1];
  Py_ssize_t rows = PyLong_AsSsize_t(arguments[2]);
  if (rows == -1 && PyErr_Occurred()) return NULL;
  if (!PyType_Check(array) || !PyTuple_Check(columns)) {
    PyErr_SetString(PyExc_TypeError, "cells: want the type of arrays and a tuple of columns");
    return NULL;
  }
  Py_ssize_t width = PyTuple_Size(columns);
  struct cells* cells = rows_zeroed(1, sizeof *cells + (size_t)width * sizeof cells->cell[0]);
  if (!cells) return NULL;
  cells->columns = Py_NewRef(columns);
  cells->array = (PyTypeObject*)Py_NewRef(array);
  cells->count = width;
  cells->rows = rows;
  PyObject* capsule = PyCapsule_New(cells, CELLS, cells_free);
  if (!capsule) {
    Py_DECREF(columns);
    Py_DECREF(array);
    free(cells);
    return NULL;
  }
  cells->dtype = PyUnicode_InternFromString("dtype");
  cells->shape = PyUnicode_InternFromString("shape");
  int failed = !cells->dtype || !cells->shape;
  for (Py_ssize_t i = 0; i < width && !failed; i++)
    failed = cell_plan(&cells->cell[i], PyTuple_GetItem(columns, i));
  if (failed) Py_CLEAR(capsule);
  return capsule;
}

/* Whether an array has the column's type: 1, 0, or -1 with an exception. */
static int is_of(const struct cells* cells, const struct cell* cell, PyObject* array) {
  PyObject* dtype = PyObject_GetAttr(array, cells->dtype);
  if (!dtype) return -1;
  Py_DECREF(dtype); /* the array keeps it */
  if (dtype != cell->dtype) return 0;
  PyObject* shape = PyObject_GetAttr(array, cells->shape);
  if (!shape) return -1;
  int same = PyObject_RichCompareBool(shape, cell->shape, Py_EQ);
  Py_DECREF(shape);
  return same;
}

static int put_bytes(const struct cell* cell, PyObject* value, char* place) {
  const void* bytes;
  Py_ssize_t size;
  if (PyObject_AsReadBuffer(value, &bytes, &size) < 0) { /* they are not side by side */
    PyErr_Clear();
    return UNFIT;
  }
  if (size != cell->size) return UNFIT;
  memcpy(place, bytes, (size_t)size);
  return DONE;
}

/* Puts a number of Python, whose class is just that. */
static int put_number(const struct cell* cell, PyObject* value, char* place) {
  if (cell->kind == INT64 && PyLong_CheckExact(value)) {
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow) return UNFIT;
    memcpy(place, &number, sizeof number);
  } else if (cell->kind == FLOAT64 && PyFloat_CheckExact(value)) {
    double number = PyFloat_AsDouble(value);
    memcpy(place, &number, sizeof number);
  } else if (cell->kind == BOOL && PyBool_Check(value)) {
    *place = value == Py_True;
  } else {
    return UNFIT;
  }
  return DONE;
}

static int put_value(const struct cells* cells, const struct cell* cell, PyObject* value,
                     Py_ssize_t row) {
  char* place = cell->memory + row * cell->size;
  if (Py_TYPE(value) == cells->array) {
    int same = is_of(cells, cell, value);
    if (same <= 0) return same ? FAILED : UNFIT;
    return put_bytes(cell, value, place);
  }
  if (Py_TYPE(value) == cell->scalar) return put_bytes(cell, value, place);
  return put_number(cell, value, place);
}

/* Notes the index of a column whose value did not fit. */
static int note(PyObject** unfit, Py_ssize_t i) {
  PyObject* index = PyLong_FromSsize_t(i);
  if (!*unfit) *unfit = PyList_New(0);
  int failed = !index || !*unfit || PyList_Append(*unfit, index);
  Py_XDECREF(index);
  return failed;
}

PyObject* rows_put(PyObject* module, PyObject* const* arguments, Py_ssize_t count) {
  (void)module;
  if (rows_expect("put", count, 3)) return NULL;
  const struct cells* cells = PyCapsule_GetPointer(arguments[0], CELLS);
  if (!cells) return NULL;
  Py_ssize_t row = PyLong_AsSsize_t(arguments[2]);
  if (row < 0 || row >= cells->rows) {
    if (!PyErr_Occurred()) PyErr_Format(PyExc_IndexError, "row %zd of %zd", row, cells->rows);
    return NULL;
  }
  PyObject* unfit = NULL;
  for (Py_ssize_t i = 0; i < cells->count; i++) {
    const struct cell* cell = &cells->cell[i];
    PyObject* value = PyObject_GetItem(arguments[1], cell->name);
    if (!value) goto failed;
    int became = put_value(cells, cell, value, row);
    Py_DECREF(value);
    if (became == FAILED || (became == UNFIT && note(&unfit, i))) goto failed;
  }
  return unfit ? unfit : Py_NewRef(Py_None);
failed:
  Py_XDECREF(unfit);
  return NULL;
}
