/* What is asked of Python's objects, and done with them, that the API has no words for.
 *
 * All of it belongs to who has the interpreter's lock; nothing runs Python but what says so.
 */
#ifndef MINIWSGI_OBJECTS_H
#define MINIWSGI_OBJECTS_H

#include <Python.h>
#include <structmember.h>

/* There is one reference to it, and no weak one. */
static inline int mw_is_alone(PyObject *object) {
    Py_ssize_t weak = Py_TYPE(object)->tp_weaklistoffset;
    return Py_REFCNT(object) == 1 && (weak <= 0 || !*(PyObject **)((char *)object + weak));
}

/* As PyDict_GetItem, where no exception is under way that would have to be kept. */
static inline PyObject *mw_get(PyObject *dict, PyObject *key) {
    PyObject *found = PyDict_GetItemWithError(dict, key);
    if (!found && PyErr_Occurred()) PyErr_Clear();
    return found;
}

/* Where objects of a class keep what `__slots__` names: read there, it costs no search. Below 0: an exception. */
static Py_ssize_t mw_slot(PyObject *type, const char *name) {
    PyObject *found = PyObject_GetAttrString(type, name);
    Py_ssize_t offset = -1;
    if (!found) return -1;
    if (Py_IS_TYPE(found, &PyMemberDescr_Type)) offset = ((PyMemberDescrObject *)found)->d_member->offset;
    else PyErr_Format(PyExc_TypeError, "%s is not in __slots__", name);
    Py_DECREF(found);
    return offset;
}
#define mw_in_slot(object, offset) (*(PyObject **)((char *)(object) + (offset)))
static inline void mw_set_slot(PyObject *object, Py_ssize_t offset, PyObject *value) {
    PyObject **slot = &mw_in_slot(object, offset), *old = *slot;
    *slot = Py_NewRef(value);
    Py_XDECREF(old);
}

/* An object, and the beginning of what it holds, of which something is read soon. Any address will do. */
static inline void mw_prefetch(const void *object) {
    __builtin_prefetch(object, 1);
    __builtin_prefetch((const char *)object + 64, 1);
}

/* A client's value with room for its next one, which is put there if nobody else has a reference by then: what
 * CPython does itself with a text that it appends to. `room` is the size of the longest. */
static PyObject *mw_new_text(const void *data, Py_ssize_t size, Py_ssize_t room) {
    PyObject *text = PyUnicode_New(room, 127);
    if (!text) return NULL;
    memcpy(PyUnicode_DATA(text), data, size);
    ((char *)PyUnicode_DATA(text))[size] = 0;
    ((PyASCIIObject *)text)->length = size;
    return text;
}
/* 0: it cannot be had. */
static inline int mw_put_text(PyObject *text, const void *data, Py_ssize_t size, Py_ssize_t room) {
    if (size > room || !size || Py_REFCNT(text) != 1 || PyUnicode_CHECK_INTERNED(text)) return 0;
#if PY_VERSION_HEX < 0x030C0000
    if (((PyASCIIObject *)text)->wstr) return 0;
#endif
    memcpy(PyUnicode_DATA(text), data, size);
    ((char *)PyUnicode_DATA(text))[size] = 0;
    ((PyASCIIObject *)text)->length = size;
    ((PyASCIIObject *)text)->hash = -1;
    return 1;
}

#endif
