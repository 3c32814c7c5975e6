/* A SPANK plugin with pyxis's options for tests: the task runs on the host, and FAKE_PYXIS_<option> in its environment
 * says what srun was asked for. */
#include <ctype.h>
#include <slurm/spank.h>
#include <stdio.h>
#include <string.h>

SPANK_PLUGIN(fake_pyxis, 1)

enum { COUNT = 3, LENGTH = 4096 };
static const char *const names[COUNT] = {"container-image", "container-mounts", "container-workdir"};
static char values[COUNT][LENGTH];

static int remember(int option, const char *argument, int remote) {
    (void)remote;
    snprintf(values[option], LENGTH, "%s", argument);
    return 0;
}

int slurm_spank_init(spank_t spank, int argc, char **argv) {
    (void)argc;
    (void)argv;
    for (int option = 0; option < COUNT; option++) {
        struct spank_option entry = {(char *)names[option], "VALUE", "as in pyxis", 1, option, remember};
        if (spank_option_register(spank, &entry) != ESPANK_SUCCESS) return -1;
    }
    return 0;
}

int slurm_spank_task_init(spank_t spank, int argc, char **argv) {
    (void)argc;
    (void)argv;
    for (int option = 0; option < COUNT; option++) {
        char variable[64];
        if (!values[option][0]) continue;
        snprintf(variable, sizeof variable, "FAKE_PYXIS_%s", names[option]);
        for (char *letter = variable; *letter; letter++) *letter = *letter == '-' ? '_' : (char)toupper(*letter);
        spank_setenv(spank, variable, values[option], 1);
    }
    return 0;
}
