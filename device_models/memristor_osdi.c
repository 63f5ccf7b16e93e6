/* hvae-mnn: the memristors of aist.va and hp.va as a compiled device for simulators that load OSDI 0.3.
 *
 * Built by hvae-mnn on the user's machine; by hand: cc -O2 -shared -fPIC -o memristor.osdi memristor_osdi.c
 * In a deck:  pre_osdi memristor.osdi  within .control, then
 *   N1 te be x am x0=0.3
 *   .model am aist_memristor p=10        (or hp_memristor)
 *
 * The equations, their sources and the parameters' units are those of the .va files; the derivatives that Newton's
 * method needs are written out here. Without a transient (.op, .dc, and a transient's operating point) the state equals
 * x0; in a transient, C dx/dt = C rate, with C = 1 mF on the state's node, whose voltage is x.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* ---- The simulator's side of OSDI 0.3: layout of what it reads and calls. ---- */

enum { KIND_INSTANCE = 1 << 30, TYPE_REAL = 0 };
enum { FLAG_SET = 1, FLAG_INSTANCE = 4 };
enum { CALCULATES_TRANSIENT = 2 };
enum { RESISTIVE = 4, REACTIVE = 8 };
enum { OUT_OF_BOUNDS = 1 };
#define NONE UINT32_MAX

typedef struct { char **names; double *values; char **text_names; char **texts; } SimulatorValues;
typedef struct {
    SimulatorValues values;
    double time;
    double *solution, *previous_state, *next_state;
    uint32_t flags;
} Call;
typedef struct { uint32_t code; uint32_t parameter; } SetupError;
typedef struct { uint32_t flags, count; SetupError *errors; } SetupResult;
typedef struct { uint32_t row, column; } Pair;
typedef struct { Pair nodes; uint32_t reactive_pointer, flags; } JacobianEntry;
typedef struct {
    char *name, *units, *residual_units;
    uint32_t resistive, reactive, resistive_limit, reactive_limit;
    bool is_flow;
} Node;
typedef struct { char **names; uint32_t aliases; char *description, *units; uint32_t flags, length; } Parameter;
typedef struct { char *name; Pair nodes; } Noise;

typedef struct {
    char *name;
    uint32_t node_count, terminal_count;
    Node *nodes;
    uint32_t jacobian_count;
    JacobianEntry *jacobian;
    uint32_t collapsible_count;
    Pair *collapsible;
    uint32_t collapsed;
    Noise *noise;
    uint32_t noise_count, parameter_count, instance_parameter_count, output_count;
    Parameter *parameters;
    uint32_t node_map, jacobian_pointers, state_count, state_index, bound_step, instance_size, model_size;
    void *(*access)(void *, void *, uint32_t, uint32_t);
    void (*setup_model)(void *, void *, SimulatorValues *, SetupResult *);
    void (*setup_instance)(void *, void *, void *, double, uint32_t, SimulatorValues *, SetupResult *);
    uint32_t (*eval)(void *, void *, void *, const Call *);
    void (*load_noise)(void *, void *, double, double *);
    void (*load_residual_resistive)(void *, void *, double *);
    void (*load_residual_reactive)(void *, void *, double *);
    void (*load_limit_resistive)(void *, void *, double *);
    void (*load_limit_reactive)(void *, void *, double *);
    void (*load_rhs_dc)(void *, void *, double *, double *);
    void (*load_rhs_transient)(void *, void *, double *, double *, double);
    void (*load_jacobian_resistive)(void *, void *);
    void (*load_jacobian_reactive)(void *, void *, double);
    void (*load_jacobian_transient)(void *, void *, double);
} Descriptor;

/* ---- The device. ---- */

enum { TE, BE, X, NODES };
enum { MULTIPLICITY, X0, RON, ROFF, D, MU, P, WMIN, BW, VTP, VTN, IOFF, ION, I0, DV, GUARD, PARAMETERS };
enum { HP_PARAMETERS = BW + 1 };
static const double CAPACITANCE = 1e-3;

typedef struct {
    double value[PARAMETERS];
    bool given[PARAMETERS];
    double k, least, nearest, slope, stop; /* what follows from the parameters, see setup */
} Model;

typedef struct {
    uint32_t node_map[NODES];
    double *jacobian_pointers[NODES * NODES];
    double *reactive_pointer;
    bool collapsed;
    double multiplicity, x0;
    bool given[2];
    double residual[NODES], charge;
    double jacobian[NODES][NODES];
} Instance;

typedef struct { double value, by_x; } OfState;
typedef struct { double value, by_v, by_x; } Drive;

static double clip(double value) { return value < 0 ? 0 : value > 1 ? 1 : value; }

/* f(x) of eq. 9 with its floor, times the end stop for motion into the end at `distance`, whose x-derivative is
 * `direction`. */
static OfState window(const Model *m, double x, double distance, double direction) {
    double centred = 2 * x - 1, square = centred * centred, power = 1;
    int p = (int)(m->value[P] + 0.5);
    for (int n = 1; n < p; n++) power *= square;
    OfState f = {1 - power * square, -4 * p * power * centred};
    if (f.value < m->least) f = (OfState){m->least, 0};
    double raw = m->stop + m->slope * distance, factor = clip(raw);
    double factor_by_x = factor == raw ? m->slope * direction : 0;
    return (OfState){f.value * factor, f.by_x * factor + f.value * factor_by_x};
}

/* Smoothstep from 0 to 1 as `beyond` the threshold grows to dv. */
static double ramp(const Model *m, double beyond, double *slope) {
    double u = clip(beyond / m->value[DV]);
    *slope = 6 * u * (1 - u) / m->value[DV];
    return u * u * (3 - 2 * u);
}

/* dx/dt of eq. 9, from the voltage, the current and its derivatives. */
static Drive aist_rate(const Model *m, double v, double i, double i_v, double i_x, double x) {
    Drive rate = {0, 0, 0};
    double slope, ramped;
    if (v > m->value[VTP]) {
        ramped = ramp(m, v - m->value[VTP], &slope);
        OfState f = window(m, x, 1 - x, -1);
        double distance = i - m->value[I0];
        bool guarded = distance < m->nearest;
        if (guarded) distance = m->nearest;
        double drive = m->k * m->value[IOFF] / distance, by_i = guarded ? 0 : -drive / distance;
        rate.value = ramped * drive * f.value;
        rate.by_v = (slope * drive + ramped * by_i * i_v) * f.value;
        rate.by_x = ramped * (by_i * i_x * f.value + drive * f.by_x);
    } else if (v < m->value[VTN]) {
        ramped = ramp(m, m->value[VTN] - v, &slope);
        OfState f = window(m, x, x, 1);
        double scale = m->k / m->value[ION];
        rate.value = ramped * scale * i * f.value;
        rate.by_v = scale * (-slope * i + ramped * i_v) * f.value;
        rate.by_x = ramped * scale * (i_x * f.value + i * f.by_x);
    }
    return rate;
}

/* dx/dt of eq. 8. */
static Drive hp_rate(const Model *m, double v, double i, double i_v, double i_x, double x) {
    OfState f = v > 0 ? window(m, x, 1 - x, -1) : window(m, x, x, 1);
    return (Drive){m->k * i * f.value, m->k * i_v * f.value, m->k * (i_x * f.value + i * f.by_x)};
}

static uint32_t eval(void *instance, void *model, const Call *call,
                     Drive (*law)(const Model *, double, double, double, double, double)) {
    Instance *n = instance;
    const Model *m = model;
    double v = call->solution[n->node_map[TE]] - call->solution[n->node_map[BE]];
    double x = call->solution[n->node_map[X]];
    double ron = m->value[RON], roff = m->value[ROFF], inside = clip(x);
    double ohm = roff + (ron - roff) * inside;
    double i = v / ohm, i_v = 1 / ohm, i_x = inside == x ? -i / ohm * (ron - roff) : 0;
    double times = n->multiplicity;

    n->residual[TE] = times * i;
    n->residual[BE] = -times * i;
    for (int sign = 1, row = TE; row <= BE; row++, sign = -1) {
        n->jacobian[row][TE] = sign * times * i_v;
        n->jacobian[row][BE] = -sign * times * i_v;
        n->jacobian[row][X] = sign * times * i_x;
    }
    n->charge = CAPACITANCE * x;
    if (call->flags & CALCULATES_TRANSIENT) {
        Drive rate = law(m, v, i, i_v, i_x, x);
        n->residual[X] = -CAPACITANCE * rate.value;
        n->jacobian[X][TE] = -CAPACITANCE * rate.by_v;
        n->jacobian[X][BE] = CAPACITANCE * rate.by_v;
        n->jacobian[X][X] = -CAPACITANCE * rate.by_x;
    } else {
        n->residual[X] = CAPACITANCE * (x - n->x0);
        n->jacobian[X][TE] = n->jacobian[X][BE] = 0;
        n->jacobian[X][X] = CAPACITANCE;
    }
    return 0;
}

static uint32_t aist_eval(void *handle, void *instance, void *model, const Call *call) {
    (void)handle;
    return eval(instance, model, call, aist_rate);
}

static uint32_t hp_eval(void *handle, void *instance, void *model, const Call *call) {
    (void)handle;
    return eval(instance, model, call, hp_rate);
}

/* ---- Parameters. ---- */

static void *access(void *instance, void *model, uint32_t id, uint32_t flags) {
    Instance *n = instance;
    Model *m = model;
    if (id >= PARAMETERS) return NULL;
    if (flags & FLAG_INSTANCE) {
        if (id > X0) return NULL;
        if (flags & FLAG_SET) n->given[id] = true;
        return id == X0 ? &n->x0 : &n->multiplicity;
    }
    if (flags & FLAG_SET) m->given[id] = true;
    return &m->value[id];
}

static void refuse(SetupResult *result, uint32_t parameter) {
    SetupError *errors = realloc(result->errors, (result->count + 1) * sizeof *errors);
    if (!errors) return;
    errors[result->count++] = (SetupError){OUT_OF_BOUNDS, parameter};
    result->errors = errors;
}

static void setup(Model *m, const double *defaults, int count, SetupResult *result) {
    *result = (SetupResult){0, 0, NULL};
    for (int id = 0; id < count; id++)
        if (!m->given[id]) m->value[id] = defaults[id];
    const double *p = m->value;
    for (int id = RON; id < P; id++)
        if (!(p[id] > 0)) refuse(result, id);
    if (!(p[ROFF] > p[RON])) refuse(result, ROFF);
    if (!(p[P] >= 1 && p[P] <= 1000 && p[P] == (int)p[P])) refuse(result, P);
    if (!(p[WMIN] >= 0 && p[WMIN] < 1)) refuse(result, WMIN);
    if (!(p[BW] >= 0 && p[BW] < 0.5)) refuse(result, BW);
    m->k = p[MU] * p[RON] / (p[D] * p[D]);
    m->least = p[WMIN] > 0 ? p[WMIN] : -1e30; /* 0 switches off */
    m->slope = p[BW] > 0 ? 1 / p[BW] : 0;
    m->stop = p[BW] > 0 ? 0 : 1;
}

static const double AIST[PARAMETERS] = {1, 0.05, 5e3, 100e3, 3e-9, 5e-15, 10, 0.02, 0.01,
                                        0.1, -0.1, 2e-10, 1, 1e-6, 2e-3, 0.02};
static const double HP[HP_PARAMETERS] = {1, 0.314, 100, 16e3, 10e-9, 1e-14, 1, 0.02, 0.01};

static void aist_setup(void *handle, void *model, SimulatorValues *values, SetupResult *result) {
    (void)handle;
    (void)values;
    Model *m = model;
    setup(m, AIST, PARAMETERS, result);
    static const int positive[] = {IOFF, ION, I0, DV};
    for (size_t k = 0; k < sizeof positive / sizeof *positive; k++)
        if (!(m->value[positive[k]] > 0)) refuse(result, positive[k]);
    if (!(m->value[GUARD] >= 0 && m->value[GUARD] < 1)) refuse(result, GUARD);
    if (!(m->value[VTP] > 0)) refuse(result, VTP);
    if (!(m->value[VTN] < 0)) refuse(result, VTN);
    m->nearest = m->value[GUARD] > 0 ? m->value[GUARD] * m->value[I0] : -1e30;
}

static void hp_setup(void *handle, void *model, SimulatorValues *values, SetupResult *result) {
    (void)handle;
    (void)values;
    setup(model, HP, HP_PARAMETERS, result);
}

static void setup_instance(void *handle, void *instance, void *model, double temperature, uint32_t terminals,
                           SimulatorValues *values, SetupResult *result) {
    (void)handle;
    (void)temperature;
    (void)terminals;
    (void)values;
    Instance *n = instance;
    const Model *m = model;
    *result = (SetupResult){0, 0, NULL};
    if (!n->given[MULTIPLICITY]) n->multiplicity = m->value[MULTIPLICITY];
    if (!n->given[X0]) n->x0 = m->value[X0];
    if (!(n->x0 >= 0 && n->x0 <= 1)) refuse(result, X0);
}

/* ---- What Newton's method and the integration take. ---- */

static void nothing_for_noise(void *instance, void *model, double frequency, double *density) {
    (void)instance, (void)model, (void)frequency, (void)density;
}

static void nothing_to_limit(void *instance, void *model, double *to) { (void)instance, (void)model, (void)to; }

static void load_residual_resistive(void *instance, void *model, double *to) {
    (void)model;
    Instance *n = instance;
    for (int row = 0; row < NODES; row++) to[n->node_map[row]] += n->residual[row];
}

static void load_residual_reactive(void *instance, void *model, double *to) {
    (void)model;
    Instance *n = instance;
    to[n->node_map[X]] += n->charge;
}

static void load_rhs(Instance *n, double *to, const double *solution, double alpha) {
    for (int row = 0; row < NODES; row++) {
        double sum = -n->residual[row];
        for (int column = 0; column < NODES; column++) sum += n->jacobian[row][column] * solution[n->node_map[column]];
        to[n->node_map[row]] += sum;
    }
    to[n->node_map[X]] += alpha * CAPACITANCE * solution[n->node_map[X]];
}

static void load_rhs_dc(void *instance, void *model, double *to, double *solution) {
    (void)model;
    load_rhs(instance, to, solution, 0);
}

static void load_rhs_transient(void *instance, void *model, double *to, double *solution, double alpha) {
    (void)model;
    load_rhs(instance, to, solution, alpha);
}

static void load_jacobian_resistive(void *instance, void *model) {
    (void)model;
    Instance *n = instance;
    for (int row = 0; row < NODES; row++)
        for (int column = 0; column < NODES; column++)
            *n->jacobian_pointers[row * NODES + column] += n->jacobian[row][column];
}

static void load_jacobian_reactive(void *instance, void *model, double alpha) {
    (void)model;
    Instance *n = instance;
    *n->reactive_pointer += alpha * CAPACITANCE;
}

static void load_jacobian_transient(void *instance, void *model, double alpha) {
    Instance *n = instance;
    load_jacobian_resistive(instance, model);
    *n->jacobian_pointers[X * NODES + X] += alpha * CAPACITANCE;
}

/* ---- What the simulator looks up. ---- */

#define RESIDUAL(node) offsetof(Instance, residual) + (node) * sizeof(double)
static Node nodes[NODES] = {
    {"te", "V", "A", RESIDUAL(TE), NONE, NONE, NONE, false},
    {"be", "V", "A", RESIDUAL(BE), NONE, NONE, NONE, false},
    {"x", "V", "A", RESIDUAL(X), offsetof(Instance, charge), NONE, NONE, false},
};

#define ENTRY(row, column) {{row, column}, NONE, RESISTIVE}
static JacobianEntry jacobian[NODES * NODES] = {
    ENTRY(TE, TE), ENTRY(TE, BE), ENTRY(TE, X), ENTRY(BE, TE), ENTRY(BE, BE),
    ENTRY(BE, X),  ENTRY(X, TE),  ENTRY(X, BE), {{X, X}, offsetof(Instance, reactive_pointer), RESISTIVE | REACTIVE},
};

#define NAME(...) (char *[]){__VA_ARGS__}
#define REAL(name, description, units) {NAME(name), 0, description, units, TYPE_REAL, 0}
static Parameter parameters[PARAMETERS] = {
    {NAME("$mfactor", "m"), 1, "devices in parallel", "", TYPE_REAL | KIND_INSTANCE, 0},
    {NAME("x0"), 0, "initial state", "", TYPE_REAL | KIND_INSTANCE, 0},
    REAL("ron", "smallest resistance, x = 1", "Ohm"),
    REAL("roff", "largest resistance, x = 0", "Ohm"),
    REAL("d", "thickness of the film", "m"),
    REAL("mu", "mobility", "m^2/s/Ohm (aist), m^2/V/s (hp)"),
    REAL("p", "of the window 1 - (2x-1)^(2p)", ""),
    REAL("wmin", "floor of the window, 0: off", ""),
    REAL("bw", "width of the end stops, 0: off", ""),
    REAL("vtp", "SET threshold", "V"),
    REAL("vtn", "RESET threshold, negative", "V"),
    REAL("ioff", "i_off", "A"),
    REAL("ion", "i_on", "A"),
    REAL("i0", "pole of SET", "A"),
    REAL("dv", "ramp beyond a threshold", "V"),
    REAL("guard", "smallest distance from the pole in i0, 0: off", ""),
};

#define DESCRIPTOR(device, parameter_count, setup_function, eval_function)                                             \
    {                                                                                                                  \
        device, NODES, NODES, nodes, NODES *NODES, jacobian, 0, NULL, offsetof(Instance, collapsed), NULL, 0,          \
            parameter_count, 2, 0, parameters, offsetof(Instance, node_map), offsetof(Instance, jacobian_pointers), 0, \
            offsetof(Instance, collapsed), NONE, sizeof(Instance), sizeof(Model), access, setup_function,              \
            setup_instance, eval_function, nothing_for_noise, load_residual_resistive, load_residual_reactive,         \
            nothing_to_limit, nothing_to_limit, load_rhs_dc, load_rhs_transient, load_jacobian_resistive,              \
            load_jacobian_reactive, load_jacobian_transient                                                            \
    }

uint32_t OSDI_VERSION_MAJOR = 0;
uint32_t OSDI_VERSION_MINOR = 3;
uint32_t OSDI_NUM_DESCRIPTORS = 2;
Descriptor OSDI_DESCRIPTORS[2] = {
    DESCRIPTOR("aist_memristor", PARAMETERS, aist_setup, aist_eval),
    DESCRIPTOR("hp_memristor", HP_PARAMETERS, hp_setup, hp_eval),
};
