/* What the C runtime of Wine 10 lacks of complex numbers; a .def file forwards all the rest to it. */
typedef struct { double re, im; } complex64;
typedef struct { float re, im; } complex32;
double shim_creal(complex64 z) { return z.re; }
double shim_cimag(complex64 z) { return z.im; }
float shim_crealf(complex32 z) { return z.re; }
float shim_cimagf(complex32 z) { return z.im; }
