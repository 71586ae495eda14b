/** Importing this file registers every kernel that the recorder knows. */
import './elementwise';
import './shape';
import './reduce';
