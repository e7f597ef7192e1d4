/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows become dicts. The layout of arrays is that of the Arrow columnar format, their
 * description that of the Arrow C data interface. */
#include <stdlib.h>
#include <string.h>

#include "rows.h"

enum {
  /* Texts up to so many bytes are looked for among those made last: names, roles and
   * ids come again and again, and pickle writes an object that it meets again as a
   * number. */
  SHORT = 48,
  REMEMBERED = 64,

  MOST_DEPTH = 64, /* of lists and structs */

  /* From so many rows on the garbage collector does not look, again and again, at the
   * new records for garbage: it would take a quarter of the time. */
  MANY = 64,
};

struct text {
  PyObject* made;
  uint8_t length;
  char bytes[SHORT];
};

/* How the values of one array are read. Kinds are the letters of the Arrow formats of
 * types without parameters, and those below. */
enum { LIST = '+', LARGE_LIST = '*', FIXED_SIZE_LIST = 'w', STRUCT = '{', FOREIGN = 0 };

struct node {
  char kind;
  int8_t is_union; /* which has no bitmap of nulls */
  int32_t width; /* of a fixed-size list */
  int32_t count; /* of the children */
  struct node* children;
  PyObject* name;
  struct text* texts;
};

/* Values lie where they lie: in a message that was read into any place as well. */
typedef int16_t any_int16 __attribute__((aligned(1)));
typedef uint16_t any_uint16 __attribute__((aligned(1)));
typedef int32_t any_int32 __attribute__((aligned(1)));
typedef uint32_t any_uint32 __attribute__((aligned(1)));
typedef int64_t any_int64 __attribute__((aligned(1)));
typedef uint64_t any_uint64 __attribute__((aligned(1)));
typedef float any_float __attribute__((aligned(1)));
typedef double any_double __attribute__((aligned(1)));

static const char READER[] = "persisting.reader";

static void forget(struct node* node) {
  for (int32_t i = 0; i < node->count; i++) forget(&node->children[i]);
  free(node->children);
  Py_XDECREF(node->name);
  for (int i = 0; node->texts && i < REMEMBERED; i++) Py_XDECREF(node->texts[i].made);
  free(node->texts);
}

static void reader_free(PyObject* capsule) {
  struct node* rows = PyCapsule_GetPointer(capsule, READER);
  forget(rows);
  free(rows);
}

static char kind_of(const char* format, int32_t* width) {
  if (!strcmp(format, "+l")) return LIST;
  if (!strcmp(format, "+L")) return LARGE_LIST;
  if (!strcmp(format, "+s")) return STRUCT;
  if (!strncmp(format, "+w:", 3)) {
    *width = (int32_t)strtol(format + 3, NULL, 10);
    return FIXED_SIZE_LIST;
  }
  return format[0] && !format[1] && strchr("nbcCsSiIlLfguUzZ", format[0]) ? format[0] : FOREIGN;
}

/* Whether two children have one name. */
static int is_ambiguous(const struct node* node) {
  for (int32_t i = 1; i < node->count; i++)
    for (int32_t j = 0; j < i; j++)
      if (node->children[i].name == node->children[j].name) return 1;
  return 0;
}

/* Fills a node. A column of which any part cannot be read here becomes foreign as a
 * whole. Returns 0, or -1 with an exception. */
static int describe(struct node* node, const struct ArrowSchema* schema, int depth) {
  if (!(node->name = PyUnicode_FromString(schema->name ? schema->name : ""))) return -1;
  PyUnicode_InternInPlace(&node->name);
  /* Metadata of a column are its owner's; deeper ones may name an extension type. */
  if (depth > MOST_DEPTH || schema->dictionary || (depth > 1 && schema->metadata)) return 0;
  node->is_union = !strncmp(schema->format, "+u", 2);
  node->kind = kind_of(schema->format, &node->width);
  if (node->kind == FOREIGN) return 0;
  if (node->kind == 'u' || node->kind == 'U') {
    node->texts = rows_zeroed(REMEMBERED, sizeof *node->texts);
    return node->texts ? 0 : -1;
  }
  node->children = rows_zeroed((size_t)schema->n_children, sizeof *node->children);
  if (!node->children) return -1;
  for (; node->count < schema->n_children; node->count++) {
    struct node* child = &node->children[node->count];
    if (describe(child, schema->children[node->count], depth + 1)) {
      forget(child);
      return -1;
    }
    if (depth > 0 && child->kind == FOREIGN) node->kind = FOREIGN;
  }
  if (node->kind == STRUCT && depth > 0 && is_ambiguous(node)) node->kind = FOREIGN;
  return 0;
}

PyObject* rows_reader(PyObject* module, PyObject* schema) {
  (void)module;
  const struct ArrowSchema* columns = PyCapsule_GetPointer(schema, "arrow_schema");
  if (!columns) return NULL;
  if (!columns->release) {
    PyErr_SetString(PyExc_ValueError, "reader: the schema was released");
    return NULL;
  }
  struct node* rows = rows_zeroed(1, sizeof *rows);
  if (!rows) return NULL;
  PyObject* capsule = PyCapsule_New(rows, READER, reader_free);
  if (!capsule) {
    free(rows);
    return NULL;
  }
  PyObject* foreign = NULL;
  if (describe(rows, columns, 0)) goto failed;
  if (rows->kind != STRUCT) {
    PyErr_SetString(PyExc_TypeError, "reader: want the schema of rows");
    goto failed;
  }
  if (!(foreign = PyList_New(0))) goto failed;
  for (int32_t i = 0; i < rows->count; i++) {
    if (rows->children[i].kind != FOREIGN) continue;
    PyObject* index = PyLong_FromLong(i);
    if (!index) goto failed;
    int refused = PyList_Append(foreign, index);
    Py_DECREF(index);
    if (refused) goto failed;
  }
  return Py_BuildValue("(NN)", capsule, foreign);
failed:
  Py_XDECREF(foreign);
  Py_DECREF(capsule);
  return NULL;
}

/* Says whether a value is null, by its place in the buffers. */
static int is_null(const struct ArrowArray* array, int64_t at) {
  const uint8_t* valid = array->n_buffers > 0 ? array->buffers[0] : NULL;
  return valid && !(valid[at >> 3] >> (at & 7) & 1);
}

static PyObject* new_none(void) {
  Py_INCREF(Py_None);
  return Py_None;
}

static PyObject* read_text(struct node* node, const char* bytes, int64_t length) {
  if (length == 0 || length > SHORT) return PyUnicode_DecodeUTF8(bytes, length, NULL);
  uint64_t head = 0, tail = 0;
  size_t few = length < 8 ? (size_t)length : 8;
  memcpy(&head, bytes, few);
  memcpy(&tail, bytes + length - few, few);
  uint64_t mixed = (head ^ tail * 0x9E3779B97F4A7C15u ^ (uint64_t)length) * 0xD6E8FEB86659FD93u;
  struct text* text = &node->texts[(mixed >> 32) % REMEMBERED];
  if (!text->made || text->length != length || memcmp(text->bytes, bytes, (size_t)length)) {
    PyObject* made = PyUnicode_DecodeUTF8(bytes, length, NULL);
    if (!made) return NULL;
    Py_XDECREF(text->made);
    text->made = made;
    text->length = (uint8_t)length;
    memcpy(text->bytes, bytes, (size_t)length);
  }
  Py_INCREF(text->made);
  return text->made;
}

static PyObject* read_value(struct node* node, const struct ArrowArray* array, int64_t i);

static PyObject* read_list(struct node* node, const struct ArrowArray* array, int64_t from, int64_t to) {
  PyObject* list = PyList_New(to - from);
  for (int64_t i = from; list && i < to; i++) {
    PyObject* item = read_value(node->children, array->children[0], i);
    if (!item || PyList_SetItem(list, i - from, item)) Py_CLEAR(list);
  }
  return list;
}

static PyObject* read_struct(struct node* node, const struct ArrowArray* array, int64_t at) {
  PyObject* dict = PyDict_New();
  for (int32_t c = 0; dict && c < node->count; c++) {
    PyObject* value = read_value(&node->children[c], array->children[c], at);
    if (!value || PyDict_SetItem(dict, node->children[c].name, value)) Py_CLEAR(dict);
    Py_XDECREF(value);
  }
  return dict;
}

/* Makes the i-th value of an array. */
static PyObject* read_value(struct node* node, const struct ArrowArray* array, int64_t i) {
  int64_t at = i + array->offset;
  if (node->kind == 'n' || is_null(array, at)) return new_none();
  const void* data = array->n_buffers > 1 ? array->buffers[1] : NULL;
  const any_int32* small = data;
  const any_int64* large = data;
  const char* bytes = array->n_buffers > 2 ? array->buffers[2] : NULL;
  switch (node->kind) {
    case 'b': return PyBool_FromLong(((const uint8_t*)data)[at >> 3] >> (at & 7) & 1);
    case 'c': return PyLong_FromLong(((const int8_t*)data)[at]);
    case 'C': return PyLong_FromLong(((const uint8_t*)data)[at]);
    case 's': return PyLong_FromLong(((const any_int16*)data)[at]);
    case 'S': return PyLong_FromLong(((const any_uint16*)data)[at]);
    case 'i': return PyLong_FromLong(((const any_int32*)data)[at]);
    case 'I': return PyLong_FromLongLong(((const any_uint32*)data)[at]);
    case 'l': return PyLong_FromLongLong(((const any_int64*)data)[at]);
    case 'L': return PyLong_FromUnsignedLongLong(((const any_uint64*)data)[at]);
    case 'f': return PyFloat_FromDouble(((const any_float*)data)[at]);
    case 'g': return PyFloat_FromDouble(((const any_double*)data)[at]);
    case 'u': return read_text(node, bytes + small[at], small[at + 1] - small[at]);
    case 'U': return read_text(node, bytes + large[at], large[at + 1] - large[at]);
    case 'z': return PyBytes_FromStringAndSize(bytes + small[at], small[at + 1] - small[at]);
    case 'Z': return PyBytes_FromStringAndSize(bytes + large[at], large[at + 1] - large[at]);
    case LIST: return read_list(node, array, small[at], small[at + 1]);
    case LARGE_LIST: return read_list(node, array, large[at], large[at + 1]);
    case FIXED_SIZE_LIST: return read_list(node, array, at * node->width, (at + 1) * node->width);
    case STRUCT: return read_struct(node, array, at);
  }
  PyErr_Format(PyExc_SystemError, "read: column %R was not given", node->name);
  return NULL;
}

/* Makes the record of a row. `given` has a list of values, or None, for each column. */
static PyObject* read_row(struct node* rows, const struct ArrowArray* array, int64_t i, PyObject* given) {
  PyObject* record = PyDict_New();
  int64_t at = i + array->offset;
  for (int32_t c = 0; record && c < rows->count; c++) {
    const struct ArrowArray* column = array->children[c];
    struct node* node = &rows->children[c];
    if (node->kind == 'n' || (!node->is_union && is_null(column, at + column->offset))) continue;
    PyObject* list = given ? PyList_GetItem(given, c) : Py_None;
    PyObject* value = NULL;
    if (list == Py_None) {
      value = read_value(node, column, at);
    } else if (list && (value = PyList_GetItem(list, i))) {
      Py_INCREF(value);
    }
    if (!value || PyDict_SetItem(record, node->name, value)) Py_CLEAR(record);
    Py_XDECREF(value);
  }
  return record;
}

static PyObject* read_rows(struct node* rows, const struct ArrowArray* array, PyObject* given) {
  if (array->n_children != rows->count || (given && PyList_Size(given) != rows->count)) {
    PyErr_Clear();
    PyErr_Format(PyExc_ValueError, "read: want %d columns", rows->count);
    return NULL;
  }
  int paused = array->length >= MANY && PyGC_Disable();
  PyObject* records = PyList_New(array->length);
  for (int64_t i = 0; records && i < array->length; i++) {
    PyObject* record = read_row(rows, array, i, given);
    if (!record || PyList_SetItem(records, i, record)) Py_CLEAR(records);
  }
  if (paused) PyGC_Enable();
  return records;
}

PyObject* rows_read(PyObject* module, PyObject* const* arguments, Py_ssize_t count) {
  (void)module;
  if (rows_expect("read", count, 3)) return NULL;
  struct node* rows = PyCapsule_GetPointer(arguments[0], READER);
  if (!rows) return NULL;
  int is_given_away = PyLong_Check(arguments[1]);
  struct ArrowArray* array = is_given_away ? PyLong_AsVoidPtr(arguments[1])
                                           : PyCapsule_GetPointer(arguments[1], "arrow_array");
  if (!array || !array->release) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "read: the rows were released");
    return NULL;
  }
  PyObject* records = read_rows(rows, array, arguments[2] == Py_None ? NULL : arguments[2]);
  if (is_given_away) array->release(array);
  return records;
}
