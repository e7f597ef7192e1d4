/* SPDX-License-Identifier: Apache-2.0
 *
 * Records of the same keys, in one order, with a value of just its column's type for
 * each, become a message of the Arrow IPC format. What is any other way is left to the
 * caller. */
#include <stdlib.h>
#include <string.h>

#include "rows.h"

enum {
  /* Each buffer of a message begins at a multiple of so many bytes, the width of the
   * widest value. */
  ALIGNMENT = 8,

  /* Memory that a buffer keeps from one message to the next, in bytes. */
  KEPT = 64 << 10,

  PIECES = 5,

  MOST_DEPTH = 1000, /* of lists; Python's own recursion ends there */
};

/* Every int up to this magnitude is a double of the same value. */
static const int64_t EXACT = (int64_t)1 << 53;

struct buffer {
  char* bytes;
  size_t used, room;
};

/* Kinds are the letters of the Arrow formats, and those below. */
enum { LIST = '+', JSON = 'j' };

struct column {
  char kind;
  int8_t is_placed;    /* in the message */
  struct column* item; /* of lists */
  int64_t length;
  struct buffer offsets, data;
  PyObject* nested; /* the values of a JSON column, until they are text */
};

struct writer {
  Py_ssize_t count; /* of the columns, and of the keys of a record */
  PyObject** names;
  struct column* columns; /* in the order of the keys */
  Py_ssize_t* order;      /* of the columns in the message */
  PyObject* dump;
  PyObject* pieces[PIECES]; /* of the metadata, see writer in _rows.pyi */
  int is_busy;
};

/* What became of a value. */
enum { FAILED = -1, DONE = 0, UNFIT = 1 };

static const char WRITER[] = "persisting.writer";

static void column_free(struct column* column) {
  if (column->item) column_free(column->item);
  free(column->item);
  free(column->offsets.bytes);
  free(column->data.bytes);
  Py_XDECREF(column->nested);
}

static void writer_free(PyObject* capsule) {
  struct writer* writer = PyCapsule_GetPointer(capsule, WRITER);
  for (Py_ssize_t i = 0; i < writer->count; i++) {
    if (writer->columns) column_free(&writer->columns[i]);
    if (writer->names) Py_XDECREF(writer->names[i]);
  }
  for (int i = 0; i < PIECES; i++) Py_XDECREF(writer->pieces[i]);
  Py_XDECREF(writer->dump);
  free(writer->names);
  free(writer->columns);
  free(writer->order);
  free(writer);
}

static int column_init(struct column* column, const char* format, int depth) {
  const char* kinds = depth > 0 ? "blLguz+" : "blLguzj+";
  if (!*format || !strchr(kinds, *format) || (*format != LIST) != !format[1] || depth > MOST_DEPTH) {
    PyErr_Format(PyExc_ValueError, "writer: a column of format %.100s", format);
    return -1;
  }
  column->kind = *format;
  if (column->kind != LIST) return 0;
  column->item = rows_zeroed(1, sizeof *column->item);
  return column->item ? column_init(column->item, format + 1, depth + 1) : -1;
}

/* Sets the name, the format and the place in the message of the next column. */
static int add_column(struct writer* writer, PyObject* name, PyObject* format, PyObject* order) {
  Py_ssize_t i = writer->count++;
  Py_INCREF(name);
  writer->names[i] = name;
  if (!PyUnicode_Check(name)) {
    PyErr_SetString(PyExc_TypeError, "writer: a name is not a str");
    return -1;
  }
  const char* letters = PyUnicode_AsUTF8AndSize(format, NULL);
  if (!letters || column_init(&writer->columns[i], letters, 0)) return -1;
  writer->order[i] = PyLong_AsSsize_t(order);
  return writer->order[i] == -1 && PyErr_Occurred() ? -1 : 0;
}

/* Sees that each column has its place in the message. */
static int check_order(struct writer* writer) {
  for (Py_ssize_t i = 0; i < writer->count; i++) {
    Py_ssize_t column = writer->order[i];
    if (column < 0 || column >= writer->count || writer->columns[column].is_placed) {
      PyErr_SetString(PyExc_ValueError, "writer: the order does not have each column once");
      return -1;
    }
    writer->columns[column].is_placed = 1;
  }
  return 0;
}

PyObject* rows_writer(PyObject* module, PyObject* const* arguments, Py_ssize_t count) {
  (void)module;
  if (rows_expect("writer", count, 5)) return NULL;
  PyObject *names = arguments[0], *formats = arguments[1], *order = arguments[2];
  struct writer* writer = rows_zeroed(1, sizeof *writer);
  if (!writer) return NULL;
  PyObject* capsule = PyCapsule_New(writer, WRITER, writer_free);
  if (!capsule) {
    free(writer);
    return NULL;
  }
  Py_ssize_t columns = PyTuple_Size(names);
  if (columns < 1 || PyTuple_Size(formats) != columns || PyTuple_Size(order) != columns) {
    if (!PyErr_Occurred())
      PyErr_SetString(PyExc_ValueError, "writer: want three tuples of one length, not empty");
    goto failed;
  }
  writer->names = rows_zeroed((size_t)columns, sizeof *writer->names);
  writer->columns = rows_zeroed((size_t)columns, sizeof *writer->columns);
  writer->order = rows_zeroed((size_t)columns, sizeof *writer->order);
  if (!writer->names || !writer->columns || !writer->order) goto failed;
  for (Py_ssize_t i = 0; i < columns; i++) {
    PyObject *name = PyTuple_GetItem(names, i), *format = PyTuple_GetItem(formats, i);
    if (add_column(writer, name, format, PyTuple_GetItem(order, i))) goto failed;
  }
  if (check_order(writer)) goto failed;
  Py_INCREF(arguments[3]);
  writer->dump = arguments[3];
  for (int i = 0; i < PIECES; i++) {
    PyObject* piece = PyTuple_GetItem(arguments[4], i);
    if (!piece) goto failed;
    Py_INCREF(piece);
    writer->pieces[i] = piece;
    if (PyBytes_Size(piece) < 0) goto failed;
  }
  return capsule;
failed:
  Py_DECREF(capsule);
  return NULL;
}

/* Makes room at the end of a buffer. */
static char* grow(struct buffer* buffer, size_t size) {
  if (!buffer->bytes || buffer->room - buffer->used < size) {
    size_t room = buffer->room ? buffer->room : 64;
    while (room - buffer->used < size) room *= 2;
    char* bytes = realloc(buffer->bytes, room);
    if (!bytes) {
      PyErr_NoMemory();
      return NULL;
    }
    buffer->bytes = bytes;
    buffer->room = room;
  }
  char* end = buffer->bytes + buffer->used;
  buffer->used += size;
  return end;
}

static int put_bytes(struct buffer* buffer, const void* bytes, size_t size) {
  char* end = grow(buffer, size);
  if (!end) return FAILED;
  memcpy(end, bytes, size);
  return DONE;
}

/* Notes where the bytes or the items end that were put for a value. */
static int put_end(struct column* column, size_t end) {
  if (end > INT32_MAX) return UNFIT;
  int32_t offset = (int32_t)end;
  return put_bytes(&column->offsets, &offset, sizeof offset);
}

/* Turns an exception of this kind into UNFIT. */
static int unfit_if(PyObject* kind) {
  if (!PyErr_ExceptionMatches(kind)) return FAILED;
  PyErr_Clear();
  return UNFIT;
}

static int put_text(struct column* column, PyObject* value) {
  Py_ssize_t size;
  const char* text = PyUnicode_AsUTF8AndSize(value, &size);
  if (!text) return unfit_if(PyExc_UnicodeEncodeError);
  int put = put_bytes(&column->data, text, (size_t)size);
  return put ? put : put_end(column, column->data.used);
}

static int put_bool(struct column* column, int value) {
  if (column->length % 8 == 0 && put_bytes(&column->data, "", 1)) return FAILED;
  column->data.bytes[column->length / 8] |= (char)(value << column->length % 8);
  return DONE;
}

static int put_double(struct column* column, PyObject* value) {
  double number;
  if (Py_TYPE(value) == &PyFloat_Type) {
    number = PyFloat_AsDouble(value);
  } else if (Py_TYPE(value) == &PyLong_Type) {
    int64_t whole = PyLong_AsLongLong(value);
    if (whole == -1 && PyErr_Occurred()) return unfit_if(PyExc_OverflowError);
    if (whole < -EXACT || whole > EXACT) return UNFIT;
    number = (double)whole;
  } else {
    return UNFIT;
  }
  return put_bytes(&column->data, &number, sizeof number);
}

static int put_value(struct column* column, PyObject* value);

static int put_items(struct column* column, PyObject* list) {
  /* Nothing that runs meanwhile can change the list. */
  for (Py_ssize_t i = 0, count = PyList_Size(list); i < count; i++) {
    int put = put_value(column->item, PyList_GetItem(list, i));
    if (put) return put;
  }
  return put_end(column, (size_t)column->item->length);
}

/* Copies a value. */
static int put_kind(struct column* column, PyObject* value) {
  PyTypeObject* type = Py_TYPE(value);
  switch (column->kind) {
    case 'b': return type == &PyBool_Type ? put_bool(column, value == Py_True) : UNFIT;
    case 'g': return put_double(column, value);
    case 'u': return type == &PyUnicode_Type ? put_text(column, value) : UNFIT;
    case LIST: return type == &PyList_Type ? put_items(column, value) : UNFIT;
    case JSON: return PyList_Append(column->nested, value);
    case 'z': {
      if (type != &PyBytes_Type) return UNFIT;
      int put = put_bytes(&column->data, PyBytes_AsString(value), (size_t)PyBytes_Size(value));
      return put ? put : put_end(column, column->data.used);
    }
    case 'l': {
      if (type != &PyLong_Type) return UNFIT;
      int64_t number = PyLong_AsLongLong(value);
      if (number == -1 && PyErr_Occurred()) return unfit_if(PyExc_OverflowError);
      return put_bytes(&column->data, &number, sizeof number);
    }
    default: {
      if (type != &PyLong_Type) return UNFIT;
      uint64_t number = PyLong_AsUnsignedLongLong(value);
      if (number == UINT64_MAX && PyErr_Occurred()) return unfit_if(PyExc_OverflowError);
      return put_bytes(&column->data, &number, sizeof number);
    }
  }
}

static int put_value(struct column* column, PyObject* value) {
  int put = put_kind(column, value);
  column->length++;
  return put;
}

static int is_name(PyObject* key, PyObject* name) {
  return key == name || (Py_TYPE(key) == &PyUnicode_Type && PyUnicode_Compare(key, name) == 0);
}

static int put_record(struct writer* writer, PyObject* record) {
  if (Py_TYPE(record) != &PyDict_Type || PyDict_Size(record) != writer->count) return UNFIT;
  Py_ssize_t at = 0;
  PyObject *key, *value;
  for (Py_ssize_t i = 0; PyDict_Next(record, &at, &key, &value); i++) {
    if (!is_name(key, writer->names[i])) return UNFIT;
    int put = put_value(&writer->columns[i], value);
    if (put) return put;
  }
  return DONE;
}

/* Writes the values of a JSON column, which may run code of their classes. */
static int put_nested(struct writer* writer, struct column* column) {
  PyObject* texts = PyObject_CallFunctionObjArgs(writer->dump, column->nested, NULL);
  if (!texts) return FAILED;
  int put = texts == Py_None ? UNFIT : DONE;
  for (Py_ssize_t i = 0; !put && i < column->length; i++) {
    PyObject* text = PyList_GetItem(texts, i);
    put = text ? put_text(column, text) : FAILED;
  }
  Py_DECREF(texts);
  return put;
}

static int begin(struct column* column) {
  column->length = 0;
  if (column->kind == JSON && !(column->nested = PyList_New(0))) return FAILED;
  if (strchr("uzj+", column->kind) && put_end(column, 0)) return FAILED;
  return column->item ? begin(column->item) : DONE;
}

/* Lets go of the values, and of much memory. */
static void finish(struct column* column) {
  struct buffer* buffers[] = {&column->offsets, &column->data};
  for (int i = 0; i < 2; i++) {
    buffers[i]->used = 0;
    if (buffers[i]->room <= KEPT) continue;
    free(buffers[i]->bytes);
    *buffers[i] = (struct buffer){0};
  }
  Py_CLEAR(column->nested);
  if (column->item) finish(column->item);
}

/* Copies the values of records, a list that is not empty or one dict. */
static int put_all(struct writer* writer, PyObject* records) {
  int put = DONE;
  for (Py_ssize_t i = 0; !put && i < writer->count; i++) put = begin(&writer->columns[i]);
  if (put) return put;
  /* From here on nothing runs that could change the records, until all are copied. */
  int are_many = Py_TYPE(records) == &PyList_Type;
  Py_ssize_t count = are_many ? PyList_Size(records) : 1;
  if (count == 0) return UNFIT;
  for (Py_ssize_t i = 0; !put && i < count; i++)
    put = put_record(writer, are_many ? PyList_GetItem(records, i) : records);
  for (Py_ssize_t i = 0; !put && i < writer->count; i++)
    if (writer->columns[i].kind == JSON) put = put_nested(writer, &writer->columns[i]);
  return put;
}

/* Where the parts of a message go. */
struct message {
  char *nodes, *places, *body;
  int64_t at; /* in the body */
};

static size_t padded(size_t size) { return (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1); }

static size_t nodes_of(const struct column* column) {
  return 1 + (column->item ? nodes_of(column->item) : 0);
}

/* One is for the bitmap of nulls, of which there are none. */
static size_t places_of(const struct column* column) {
  if (column->item) return 2 + places_of(column->item);
  return column->offsets.used ? 3 : 2;
}

static size_t body_of(const struct column* column) {
  size_t rest = column->item ? body_of(column->item) : padded(column->data.used);
  return padded(column->offsets.used) + rest;
}

static char* put_number(char* at, int64_t number) {
  memcpy(at, &number, sizeof number);
  return at + sizeof number;
}

static char* put_piece(char* at, PyObject* piece) {
  size_t size = (size_t)PyBytes_Size(piece);
  memcpy(at, PyBytes_AsString(piece), size);
  return at + size;
}

static void write_buffer(struct message* message, const struct buffer* buffer) {
  size_t size = padded(buffer->used);
  message->places = put_number(message->places, message->at);
  message->places = put_number(message->places, (int64_t)buffer->used);
  if (!size) return;
  char* to = message->body + message->at;
  memcpy(to, buffer->bytes, buffer->used);
  memset(to + buffer->used, 0, size - buffer->used);
  message->at += (int64_t)size;
}

static void write_column(struct message* message, const struct column* column) {
  static const struct buffer none;
  message->nodes = put_number(put_number(message->nodes, column->length), 0);
  write_buffer(message, &none);
  if (column->offsets.used) write_buffer(message, &column->offsets);
  if (column->item) {
    write_column(message, column->item);
  } else {
    write_buffer(message, &column->data);
  }
}

/* Makes the message of the values that were copied; None if it would be too large. */
static PyObject* assemble(struct writer* writer) {
  size_t nodes = 0, places = 0, body = 0, fixed = 2 * sizeof(int64_t);
  for (Py_ssize_t i = 0; i < writer->count; i++) {
    nodes += 16 * nodes_of(&writer->columns[i]);
    places += 16 * places_of(&writer->columns[i]);
    body += body_of(&writer->columns[i]);
  }
  for (int i = 0; i < PIECES; i++) fixed += (size_t)PyBytes_Size(writer->pieces[i]);
  if (body > INT32_MAX) Py_RETURN_NONE;
  PyObject* bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(fixed + nodes + places + body));
  if (!bytes) return NULL;
  struct message message = {0};
  char* at = put_piece(PyBytes_AsString(bytes), writer->pieces[0]);
  at = put_number(at, (int64_t)body);
  at = put_piece(at, writer->pieces[1]);
  at = put_number(at, writer->columns[0].length);
  message.nodes = put_piece(at, writer->pieces[2]);
  message.places = put_piece(message.nodes + nodes, writer->pieces[3]);
  message.body = put_piece(message.places + places, writer->pieces[4]);
  for (Py_ssize_t i = 0; i < writer->count; i++)
    write_column(&message, &writer->columns[writer->order[i]]);
  return bytes;
}

PyObject* rows_write(PyObject* module, PyObject* const* arguments, Py_ssize_t count) {
  (void)module;
  if (rows_expect("write", count, 2)) return NULL;
  struct writer* writer = PyCapsule_GetPointer(arguments[0], WRITER);
  if (!writer) return NULL;
  if (writer->is_busy) Py_RETURN_NONE; /* a class of a value puts records itself */
  writer->is_busy = 1;
  int put = put_all(writer, arguments[1]);
  PyObject* message = put == DONE ? assemble(writer) : NULL;
  for (Py_ssize_t i = 0; i < writer->count; i++) finish(&writer->columns[i]);
  writer->is_busy = 0;
  if (put == UNFIT) Py_RETURN_NONE;
  return message;
}
