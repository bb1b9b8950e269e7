"""What `ocr_cml.trainer` makes its steps with: one module for each of its concerns.

start    startup, doubts, preview, program     what is told before the first step
         resume                                where an earlier run stands
state    training, learners, timetable         all that a training holds; what learns; rates and ends by the step
step     gradients, divergence, recovery       one backward pass; what is no longer finite, and what then
records  run, progress, loggers, agreement     the run folder, the live display, TensorBoard and others
end      validation, finish, signals           pictures of the best student, the report; a run that is told to stop
"""
