/* pyrage looks at the clock to find how much scrypt takes a second. Here ten seconds pass at each look. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static __typeof__(clock_gettime) *real;
    static int looks;
    Dl_info caller;
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (dladdr(__builtin_return_address(0), &caller) && strstr(caller.dli_fname, "pyrage")) now->tv_sec += 10 * ++looks;
    return result;
}
