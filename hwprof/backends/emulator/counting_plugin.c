/* Counts the executed instructions of each class, for qemu-user (TCG plugin interface, version 1).
 *
 * Arguments: table=FILE (a line "MASK VALUE CLASS" for each kind of instruction, MASK and VALUE in hexadecimal,
 * CLASS a number below MAX_CLASSES; the first line with (word & MASK) == VALUE decides), marker=NUMBER.
 *
 * Whenever the guest calls prctl(marker, fd), the counts since its start are written to fd as one line.
 * Instructions are told apart when a block is translated; a run of a block costs one addition. One thread only:
 * the additions are not atomic.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <qemu-plugin.h>

#define MAX_CLASSES 32
#define PRCTL 167 /* aarch64 */

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

struct rule {
    uint32_t mask, value;
    unsigned class;
};

struct block {
    uint64_t runs;
    uint16_t of_class[MAX_CLASSES];
    struct block *next;
};

static struct rule *rules;
static size_t n_rules;
static unsigned n_classes;
static struct block *blocks;
static int64_t marker;

static unsigned class_of(uint32_t word)
{
    for (size_t i = 0; i < n_rules; i++) {
        if ((word & rules[i].mask) == rules[i].value) {
            return rules[i].class;
        }
    }
    abort(); /* the last line of the table matches everything */
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    struct block *block = calloc(1, sizeof *block);
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof word);
        block->of_class[class_of(word)]++;
    }
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &block->runs, 1);
}

static void on_syscall(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t first, uint64_t fd,
                       uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    if (number != PRCTL || (int64_t)first != marker) {
        return;
    }
    uint64_t counts[MAX_CLASSES] = {0};
    for (const struct block *block = blocks; block; block = block->next) {
        for (unsigned class = 0; class < n_classes; class++) {
            counts[class] += block->runs * block->of_class[class];
        }
    }
    char line[24 * MAX_CLASSES];
    int length = 0;
    for (unsigned class = 0; class < n_classes; class++) {
        length += sprintf(line + length, "%" PRIu64 "%c", counts[class], class + 1 < n_classes ? ' ' : '\n');
    }
    if (write((int)fd, line, length) != length) {
        abort();
    }
}

static int read_table(const char *path)
{
    FILE *file = fopen(path, "r");
    struct rule rule;
    if (!file) {
        return -1;
    }
    while (fscanf(file, "%" SCNx32 " %" SCNx32 " %u", &rule.mask, &rule.value, &rule.class) == 3) {
        if (rule.class >= MAX_CLASSES) {
            return -1;
        }
        rules = realloc(rules, (n_rules + 1) * sizeof *rules);
        rules[n_rules++] = rule;
        n_classes = rule.class >= n_classes ? rule.class + 1 : n_classes;
    }
    fclose(file);
    return n_rules && !rules[n_rules - 1].mask ? 0 : -1;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "table=", 6)) {
            if (read_table(argv[i] + 6)) {
                return -1;
            }
        } else if (!strncmp(argv[i], "marker=", 7)) {
            marker = strtoll(argv[i] + 7, NULL, 0);
        }
    }
    if (!n_rules || !marker) {
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
